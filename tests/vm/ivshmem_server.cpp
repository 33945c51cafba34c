// The test's server as a program, to be killed: ivshmem_server ADDRESS.
#include "ivshmem_host.hpp"

#include <sys/prctl.h>

#include <csignal>
#include <cstdio>

int main(int argument_count, char** arguments) {
    if (argument_count != 2) return 2;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ivshmem_test::Host host(arguments[1]);
    std::puts(host.server().status() ? "ready" : host.server().status().error().message().c_str());
    std::fflush(stdout);
    return host.server().run() ? 0 : 1;
}
