// A C++ program outside the project: nobody listens at the address it was given, and it must be told so.
#include <vmrpc/vmrpc.hpp>

#include <cstdio>

int main(int argc, char** argv) {
    if (argc < 2) {
        return 2;
    }
    auto client = vmrpc::Client::connect(argv[1]);
    std::printf("C++: %s\n", client.has_value() ? "connected, and should not be" : "no connection");
    return client.has_value() ? 1 : 0;
}
