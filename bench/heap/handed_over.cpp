#include "heap/handed_over.hpp"

#include "base/clock.hpp"
#include "heap/functions.hpp"
#include "support/measure.hpp"
#include "support/must.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vmrpc::bench {
namespace {

constexpr std::size_t kBlockBytes = 256;

/// The client, and where it keeps its pointers for the server to see.
class Hands {
  public:
    explicit Hands(const std::string& address)
        : client_(join_heap(address)),
          heap_(client_.handle()),
          blocks_(must(client_.heap().make_array<char*>(kHandedBlocks))) {}

    void allocate() const {
        for (char*& block : blocks_) block = static_cast<char*>(heap_.allocate(kBlockBytes));
    }
    void free() const {
        for (char* block : blocks_) heap_.free(block);
    }
    void show_to_server() const { must(client_.call<look_at_blocks>(blocks_)); }
    void let_server_free() const { must(client_.call<free_blocks>(blocks_)); }

  private:
    Client client_;
    RpcHeap heap_;
    Array<char*> blocks_;
};

template <class Call>
Sides sides(ScratchFolder& folder, Call call) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_heap(address, report); },
            .call = [=](const Effort& effort, pid_t) { return call(effort, Hands(address)); }};
}

double since(std::int64_t start_ns) {
    return static_cast<double>(base::now_ns() - start_ns);
}

/// All of a turn without its free.
double kept_ns(const Hands& hands) {
    const std::int64_t start_ns = base::now_ns();
    hands.allocate();
    hands.show_to_server();
    const double took_ns = since(start_ns);
    hands.free();
    return took_ns;
}

double handed_ns(const Hands& hands) {
    const std::int64_t start_ns = base::now_ns();
    hands.allocate();
    hands.let_server_free();
    return since(start_ns);
}

}  // namespace

Sides local_free_sides(ScratchFolder& folder) {
    return sides(folder, [](const Effort& effort, const Hands& hands) {
        return measure_apart(
            effort, [&](int) { hands.allocate(); }, [&](int) { hands.free(); });
    });
}

Sides remote_free_sides(ScratchFolder& folder) {
    return sides(folder, [](const Effort& effort, const Hands& hands) {
        std::vector<double> samples;
        for (int i = -effort.warm_up; i < effort.batches; ++i) {
            // A turn that is not counted comes before one of its kind that is: the owner's part is still to come.
            kept_ns(hands);
            const double kept = kept_ns(hands);
            handed_ns(hands);
            const double handed = handed_ns(hands);
            if (i >= 0) samples.push_back((handed - kept) / kHandedBlocks);
        }
        Figures figures = summarize(samples);
        figures.calls = samples.size() * kHandedBlocks;
        return figures;
    });
}

}  // namespace vmrpc::bench
