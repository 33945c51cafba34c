#include "base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>

#include <cstdlib>
#include <memory>

namespace vmrpc::base {

spdlog::logger& log() {
    // Not registered with spdlog, so that a program's own use of spdlog is left alone; never destroyed, so that threads
    // that outlive main may still log.
    static auto& logger = *[] {
        auto* made = new spdlog::logger("vmrpc", std::make_shared<spdlog::sinks::stderr_sink_mt>());
        const char* level = std::getenv("VMRPC_LOG");  // NOLINT(concurrency-mt-unsafe): read once, under the static
        made->set_level(level == nullptr ? spdlog::level::warn : spdlog::level::from_str(level));
        made->set_pattern("%Y-%m-%dT%H:%M:%S.%e %n[%P] %l: %v");
        return made;
    }();
    return logger;
}

}  // namespace vmrpc::base
