#include "transport/vm/ring_streams.hpp"

#include "base/log.hpp"

#include <utility>

namespace vmrpc::transport::vm {

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
    const auto vm = vm_.lock();
    callers_.emplace(stream,
                     Caller{RingReader(segment_, vm == nullptr ? 0 : vm->entries(),
                                       ram_ == nullptr ? RingReader::Lending::kNo : RingReader::Lending::kYes)});
    return true;
}

std::size_t RingStreams::received(vsock::StreamId stream, std::span<const std::byte> bytes) {
    const auto found = callers_.find(stream);
    if (found == callers_.end()) return bytes.size();
    Caller& caller = found->second;
    const std::span<const std::byte> rest = caller.ram == nullptr ? bytes.subspan(take(stream, caller, bytes)) : bytes;
    if (caller.ram != nullptr) {
        // One that lends no more keeps its stream until its pages are let go of.
        if (!caller.ram->received(rest)) callers_.erase(found);
    } else if (!rest.empty()) {
        callers_.erase(found);
        backend_->close(stream);
    }
    return bytes.size();
}

/// Returns how many bytes were taken. The others are those behind the word with which a process begins to lend, or
/// what no process says.
std::size_t RingStreams::take(vsock::StreamId stream, Caller& caller, std::span<const std::byte> bytes) {
    const auto heard = caller.reader.take(bytes);
    take_rings(vm_, heard);
    if (heard.entry) know(stream, caller, *heard.entry);
    if (heard.lends) {
        caller.ram = std::make_unique<RamTalk>(ram_, std::make_shared<Stream>(backend_, stream));
        caller.ram->received(std::as_bytes(std::span(&kRamMagic, 1)));
    } else if (heard.has_nonsense && !caller.entry) {
        base::log().warn("{}: a process said what is no hello of this segment's: its stream is closed",
                         backend_->title());
        return 0;
    }
    return heard.bytes;
}

void RingStreams::know(vsock::StreamId stream, Caller& caller, std::uint32_t entry) {
    forget(stream, caller);
    caller.entry = entry;
    {
        const std::lock_guard lock(mutex_);
        streams_[entry] = stream;
    }
    // The directory may have said before who it is: rings for it were lost until now.
    ring(entry);
}

void RingStreams::forget(vsock::StreamId stream, const Caller& caller) {
    if (!caller.entry) return;
    const std::lock_guard lock(mutex_);
    const auto own = streams_.find(*caller.entry);
    if (own != streams_.end() && own->second == stream) streams_.erase(own);
}

void RingStreams::closed(vsock::StreamId stream) {
    const auto found = callers_.find(stream);
    if (found == callers_.end()) return;
    const bool lends = found->second.ram != nullptr;
    forget(stream, found->second);
    callers_.erase(found);
    if (lends) return;  // its segment ends with it
    // The process has closed its connection, or has died: its sentinel says so in the directory.
    if (const auto vm = vm_.lock()) vm->ring_directory();
}

}  // namespace vmrpc::transport::vm
