// Processes that a program in a guest starts: itself, with other words.
#pragma once

#include "ivshmem_guest.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace ivshmem_test {

inline pid_t spawn(const char* what) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::execl("/proc/self/exe", "client", what, address.c_str(), nullptr);
    std::_Exit(99);
}

/// Returns when it has said something.
inline pid_t spawn_until_it_speaks(const char* what) {
    std::array<int, 2> ends{};
    EXPECT(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const int own_output = ::dup(STDOUT_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    const pid_t child = spawn(what);
    ::dup2(own_output, STDOUT_FILENO);
    ::close(own_output);
    ::close(ends[1]);
    char byte = 0;
    EXPECT(::read(ends[0], &byte, 1) == 1);
    ::close(ends[0]);
    return child;
}

inline int status_of(pid_t child) {
    int status = 0;
    EXPECT(::waitpid(child, &status, 0) == child);
    return status;
}

inline bool soon(const std::function<bool()>& done) {
    const auto start = Clock::now();
    while (!done())
        if (ms_since(start) > 10'000)
            return false;
        else
            std::this_thread::sleep_for(milliseconds(2));
    return true;
}

/// The vmrpc-sentinel processes of this VM.
inline std::vector<pid_t> sentinels() {
    std::vector<pid_t> found;
    DIR* folder = ::opendir("/proc");
    while (const dirent* entry = ::readdir(folder)) {
        std::ifstream in(std::string("/proc/") + entry->d_name + "/comm");
        std::string name;
        if (std::getline(in, name) && name == "vmrpc-sentinel") found.push_back(std::atoi(entry->d_name));
    }
    ::closedir(folder);
    return found;
}

}  // namespace ivshmem_test
