// Every target is refused all the time: what the library would say of it is as much work as what is tested.
#include "base/log.hpp"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
    vmrpc::base::log().set_level(spdlog::level::off);
    return 0;
}
