// A child program with its output on a pipe; killed and reaped at the end, whatever happens.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

namespace process {

class Program {
  public:
    explicit Program(std::vector<std::string> words) {
        int ends[2];  // NOLINT(*-avoid-c-arrays): pipe's
        if (::pipe2(ends, O_CLOEXEC) != 0) return;
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(ends[1], STDOUT_FILENO);
            ::execv(arguments[0], arguments.data());
            ::_exit(127);
        }
        ::close(ends[1]);
        output_ = ::fdopen(ends[0], "r");
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() {
        if (pid_ > 0) static_cast<void>(kill_and_wait());
        if (output_ != nullptr) std::fclose(output_);
    }

    [[nodiscard]] pid_t pid() const { return pid_; }
    /// The next line of its output, without the line's end; empty at the end.
    std::string line() {
        std::string text;
        for (int next = std::fgetc(output_); next != EOF && next != '\n'; next = std::fgetc(output_))
            text += static_cast<char>(next);
        return text;
    }
    int kill_and_wait() {
        ::kill(pid_, SIGKILL);
        return wait();
    }
    int wait() {
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        return status;
    }

  private:
    pid_t pid_ = -1;
    std::FILE* output_ = nullptr;
};

}  // namespace process
