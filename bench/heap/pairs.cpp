#include "heap/pairs.hpp"

#include "support/measure.hpp"

namespace vmrpc::bench {

Sides pair_sides(ScratchFolder& folder, Kind kind, std::size_t bytes) {
    return sides_with(folder, kind, [bytes](const Effort& effort, pid_t server, const auto& heap) {
        // Another one lives meanwhile, as in any program: an allocator that gives up what is empty gives nothing up.
        void* other = heap.allocate(bytes);
        const Figures figures = measure(effort, server, [&](int pairs) {
            for (int i = 0; i < pairs; ++i) {
                void* block = heap.allocate(bytes);
                show(block);
                heap.free(block);
            }
        });
        heap.free(other);
        return figures;
    });
}

}  // namespace vmrpc::bench
