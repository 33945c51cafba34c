// What a process of a guest says on a stream, read by the service: rings, a byte each, and hellos.
#pragma once

#include "transport/vm/protocol.hpp"
#include "transport/vm/vm.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace vmrpc::transport::vm {

/// Reads whatever comes, in whatever pieces. Where a stream outlives a process (a port), a hello may end in the middle,
/// or come after rings: the next one is found, as no ring is a hello's first byte. One thread at a time.
class RingReader {
  public:
    /// What some bytes came to.
    struct Heard {
        std::size_t bytes = 0;  // that were taken: all, unless the process lends pages
        bool requests = false;  // rings
        bool directory = false;
        std::optional<std::uint32_t> entry;  // of the last hello: one of the directory
        bool lends = false;                  // kRamMagic, with which a RamHello begins: the rest of it is not taken
        bool has_nonsense = false;           // what is neither ring nor hello; it was left out
    };
    enum class Lending { kNo, kYes };

    /// For hellos of this segment with so many entries, 256 at most. `lending`: before a first hello there may be a
    /// RamHello instead.
    RingReader(const layout::Uuid& segment, std::uint32_t entries, Lending lending = Lending::kNo)
        : segment_(segment), entries_(entries), may_lend_(lending == Lending::kYes) {}

    Heard take(std::span<const std::byte> bytes);

  private:
    void take_one(std::byte byte, Heard& heard);
    [[nodiscard]] bool may_become_hello() const;
    [[nodiscard]] bool may_become_lending() const;
    void drop_first(Heard& heard);

    layout::Uuid segment_;
    std::uint32_t entries_;
    bool may_lend_;
    std::array<std::byte, sizeof(StreamHello)> said_{};  // what may become a hello
    std::size_t count_ = 0;                              // bytes of it
};

/// Does what the rings among them ask for.
void take_rings(const std::weak_ptr<Vm>& vm, const RingReader::Heard& heard);

}  // namespace vmrpc::transport::vm
