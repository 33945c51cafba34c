// The device's memory (or its own, of memory=ram) in a guest's process: the segment's whole range is reserved, at the
// server's address if that is free, and only what the process uses is mapped into it: the header area, and the regions
// of its own connections.
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"
#include "layout/plan.hpp"
#include "layout/wild.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vmrpc::transport::vm {

/// A mapping of a small part of a device, at no particular place. Threads: any. Not in forked children.
class DeviceView {
  public:
    /// Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_PERMITTED.
    static base::Result<std::unique_ptr<DeviceView>> map(base::FilePlace device, std::uint64_t bytes);
    DeviceView(const DeviceView&) = delete;
    DeviceView& operator=(const DeviceView&) = delete;
    ~DeviceView();
    [[nodiscard]] std::byte* base() const { return base_; }

  private:
    DeviceView(std::byte* base, std::uint64_t bytes);
    std::byte* base_;
    std::uint64_t bytes_;
    std::uint32_t generation_;
};

/// The reserved range. Connections of this process to the same segment share one, so that all of them are where the
/// server wants them.
class Window {
  public:
    /// Reserves `bytes`, at `address` if `equal` and something there is free; maps the header area.
    /// Errors: VMRPC_OUT_OF_RESOURCES, VMRPC_NOT_PERMITTED.
    static base::Result<std::shared_ptr<Window>> open(base::FilePlace memory, std::uint64_t bytes,
                                                      const layout::Uuid& uuid, std::uint64_t address, bool equal);
    Window(const Window&) = delete;
    Window& operator=(const Window&) = delete;
    ~Window();

    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(base_); }

    /// Maps a part of the segment at its place. Requires that it lies in the segment, aligned to pages.
    [[nodiscard]] base::Status map(base::FilePlace memory, const layout::Extent& part) const;
    /// Makes the part inaccessible again.
    void unmap(const layout::Extent& part) const noexcept;

  private:
    Window(std::byte* base, std::uint64_t bytes);
    [[nodiscard]] base::Status map_locked(base::FilePlace memory, const layout::Extent& part) const;
    static base::Result<std::shared_ptr<Window>> reserve(std::uint64_t bytes, std::uint64_t address, bool equal);

    std::byte* base_;
    std::uint64_t bytes_;
    std::uint32_t generation_;
};

}  // namespace vmrpc::transport::vm
