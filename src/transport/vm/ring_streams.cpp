#include "transport/vm/ring_streams.hpp"

#include "base/log.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

/// No hello begins with one.
bool is_ring(std::byte byte) {
    return byte == std::byte{kRequestVector} || byte == std::byte{kDirectoryVector};
}

}  // namespace

/// Of a process that lends pages.
class RingStreams::Stream final : public GuestStream {
  public:
    Stream(std::shared_ptr<vsock::VsockBackend> backend, vsock::StreamId stream)
        : backend_(std::move(backend)), stream_(stream) {}
    ~Stream() override { backend_->close(stream_); }
    void send(std::span<const std::byte> bytes) noexcept override {
        // A stream that is full holds rings enough, one that has ended is nobody's.
        static_cast<void>(backend_->send(stream_, bytes));
    }

  private:
    std::shared_ptr<vsock::VsockBackend> backend_;
    vsock::StreamId stream_;
};

RingStreams::RingStreams(std::weak_ptr<Vm> vm, const layout::Uuid& segment, std::shared_ptr<RamHost> ram,
                         std::function<void()> ended)
    : vm_(std::move(vm)), segment_(segment), ram_(std::move(ram)), ended_(std::move(ended)) {}

RingStreams::~RingStreams() {
    if (backend_ != nullptr) backend_->stop();
}

base::Status RingStreams::start(notify::GuardedFd socket, std::uint64_t guest_cid) {
    backend_ = std::make_shared<vsock::VsockBackend>(std::move(socket), guest_cid, *this);
    return backend_->start();
}

void RingStreams::ring(std::uint32_t entry) noexcept {
    const std::lock_guard lock(mutex_);
    const auto stream = streams_.find(entry);
    const std::byte rung{kRequestVector};
    // A stream that is full holds rings enough, one that has ended is nobody's.
    if (stream != streams_.end()) static_cast<void>(backend_->send(stream->second, {&rung, 1}));
}

bool RingStreams::opened(vsock::StreamId stream, std::uint32_t /*guest_port*/, std::uint32_t host_port) {
    if (host_port != kVsockPort) return false;
    callers_[stream];
    return true;
}

std::size_t RingStreams::received(vsock::StreamId stream, std::span<const std::byte> bytes) {
    const auto found = callers_.find(stream);
    if (found == callers_.end()) return bytes.size();
    Caller& caller = found->second;
    std::span<const std::byte> rest = bytes;
    if (caller.hello.empty()) {
        // A process tells of others that have died before it says which it is itself.
        const auto hello = std::find_if(rest.begin(), rest.end(), [](std::byte byte) { return !is_ring(byte); });
        const auto rings = static_cast<std::size_t>(hello - rest.begin());
        take_rings(rest.first(rings));
        rest = rest.subspan(rings);
    }
    if (!caller.is_known) {
        const std::size_t wanted = std::min(sizeof(StreamHello) - caller.hello.size(), rest.size());
        caller.hello.insert(caller.hello.end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(wanted));
        rest = rest.subspan(wanted);
        if (caller.hello.size() < sizeof(StreamHello)) return bytes.size();
        if (!take_first_word(stream, caller)) {
            callers_.erase(found);
            backend_->close(stream);
            return bytes.size();
        }
    }
    // One that lends no more keeps its stream until its pages are let go of.
    if (caller.ram == nullptr)
        take_rings(rest);
    else if (!caller.ram->received(rest))
        callers_.erase(found);
    return bytes.size();
}

bool RingStreams::take_first_word(vsock::StreamId stream, Caller& caller) {
    static_assert(sizeof(RamHello) >= sizeof(StreamHello));
    std::uint32_t magic = 0;
    std::memcpy(&magic, caller.hello.data(), sizeof magic);
    if (magic != kRamMagic || ram_ == nullptr) return take_hello(stream, caller);
    caller.is_known = true;
    caller.ram = std::make_unique<RamTalk>(ram_, std::make_shared<Stream>(backend_, stream));
    return caller.ram->received(caller.hello);
}

bool RingStreams::take_hello(vsock::StreamId stream, Caller& caller) {
    StreamHello hello{};
    std::memcpy(&hello, caller.hello.data(), sizeof hello);
    const auto vm = vm_.lock();
    if (vm == nullptr || hello.magic != kStreamMagic || hello.segment_uuid != segment_ ||
        hello.entry >= vm->entries()) {
        base::log().warn("{}: a process said what is no hello of this segment's: its stream is closed",
                         backend_->title());
        return false;
    }
    caller.is_known = true;
    caller.entry = hello.entry;
    const std::lock_guard lock(mutex_);
    streams_[hello.entry] = stream;
    return true;
}

void RingStreams::take_rings(std::span<const std::byte> bytes) const {
    const auto vm = vm_.lock();
    if (vm == nullptr) return;
    if (std::find(bytes.begin(), bytes.end(), std::byte{kRequestVector}) != bytes.end()) vm->ring_requests();
    if (std::find(bytes.begin(), bytes.end(), std::byte{kDirectoryVector}) != bytes.end()) vm->ring_directory();
}

void RingStreams::closed(vsock::StreamId stream) {
    const auto found = callers_.find(stream);
    if (found == callers_.end()) return;
    const bool lends = found->second.ram != nullptr;
    if (found->second.is_known && !lends) {
        const std::lock_guard lock(mutex_);
        const auto own = streams_.find(found->second.entry);
        if (own != streams_.end() && own->second == stream) streams_.erase(own);
    }
    callers_.erase(found);
    if (lends) return;  // its segment ends with it
    // The process has closed its connection, or has died: its sentinel says so in the directory.
    if (const auto vm = vm_.lock()) vm->ring_directory();
}

}  // namespace vmrpc::transport::vm
