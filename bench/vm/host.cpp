#include "vm/host.hpp"

#include "dax_info_block.hpp"
#include "support/interrupt.hpp"
#include "support/scratch_folder.hpp"
#include "vm/answerers.hpp"
#include "vm/worker.hpp"

#include <fmt/format.h>

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>

namespace vmrpc::bench {
namespace {

std::size_t floor_offset(const Combination& combination) {
    return combination.memory == "bar" ? 0 : vm::kDaxDataOffset;
}

/// The floor's memory is of the same kind as the services'.
void add_floor(vm::GuestOptions& options, const Combination& combination, int memory) {
    const std::string path = fmt::format("/proc/{}/fd/{}", ::getpid(), memory);
    if (combination.memory == "bar")
        options.memories = {{path, kFloorBytes}};
    else
        options.pmem = {{path, kFloorBytes}};
}

vm::GuestOptions guest_options(const Combination& combination, const Services& services, const Answerers& answerers,
                               const Network& network) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    vm::GuestOptions options;
    options.commands = {{{self, "client", combination.memory, combination.ring, combination.spin_ring,
                          std::to_string(answerers.tcp_port())}}};
    options.files = {{VMRPC_BENCH_SENTINEL, "/vmrpc-sentinel"}, {VMRPC_BENCH_DOORBELL, "/vmrpc-doorbell"}};
    options.environment = {"VMRPC_SENTINEL=/vmrpc-sentinel", "VMRPC_DOORBELL=/vmrpc-doorbell"};
    options.modules = combination.modules;
    options.iommu = combination.iommu;
    options.memory_mib = kRamMib;
    options.network = true;
    options.tap = network.tap;
    options.qemu_args = services.qemu_args(kFloorBytes);
    add_floor(options, combination, answerers.floor_memory());
    return options;
}

/// One guest, and all that is measured in it.
class GuestRun {
  public:
    GuestRun(const Combination& combination, const Network& network, const RunEffort& effort)
        : effort_(effort),
          services_(combination),
          answerers_(effort.cpus.server, services_, network.listen_at, floor_offset(combination), effort.until_ns),
          worker_(boot(combination, network)) {}

    /// Into `result`, piece by piece.
    void measure(GuestRounds& result) {
        result.accelerator = worker_.accelerator();
        for (RoundsResult& measured = result.measured; measured.complete < effort_.rounds; ++measured.complete)
            measure_round(measured);
        const auto watches = guest_watches(effort_.scale);
        answerers_.let_run(Answerer::kSleeps);
        for (std::uint32_t i = 0; i < watches.size(); ++i) {
            const Answer answer = worker_.follow({Order::List::kWatches, i, effort_.scale});
            result.idle[watches[i].key] = answer.idle;
            result.has_vfio = answer.has_vfio;
        }
    }

  private:
    Worker boot(const Combination& combination, const Network& network) {
        answerers_.let_services_run();  // QEMU takes their memory
        pin_to(effort_.cpus.caller);
        return {folder_.fresh(), guest_options(combination, services_, answerers_, network), effort_.until_ns};
    }
    void measure_round(RoundsResult& measured) {
        for (std::size_t i = 0; i < workloads_.size(); ++i) {
            const std::size_t index = measured.complete % 2 == 0 ? i : workloads_.size() - 1 - i;
            answerers_.let_run(workloads_[index].answerer);
            const Order order{Order::List::kWorkloads, static_cast<std::uint32_t>(index), effort_.scale};
            measured.rows[index].rounds.push_back(worker_.follow(order).figures);
        }
    }

    RunEffort effort_;
    std::vector<GuestWorkload> workloads_ = guest_workloads(effort_.scale);
    ScratchFolder folder_;
    Services services_;
    Answerers answerers_;
    Worker worker_;
};

}  // namespace

GuestRounds nothing_measured() {
    GuestRounds result;
    for (const GuestWorkload& workload : guest_workloads(1))
        result.measured.rows.push_back({.name = workload.name, .what = workload.what});
    return result;
}

GuestRounds run_guest_rounds(const Combination& combination, const Network& network, const RunEffort& effort) {
    ::setenv("VMRPC_SENTINEL", VMRPC_BENCH_SENTINEL, 0);
    GuestRounds result = nothing_measured();
    try {
        GuestRun(combination, network, effort).measure(result);
    } catch (const Stopped& stopped) {
        result.was_stopped = true;
        result.measured.stopped_by = stopped.what();
    } catch (const std::exception& exception) {
        result.measured.stopped_by = exception.what();
    }
    return result;
}

}  // namespace vmrpc::bench
