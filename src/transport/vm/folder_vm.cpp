#include "transport/vm/folder_vm.hpp"

#include "base/log.hpp"
#include "transport/socket.hpp"
#include "transport/vm/info_block.hpp"
#include "transport/vm/waiting_qemu.hpp"

#include <fmt/format.h>

#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <utility>

namespace vmrpc::transport::vm {

namespace {

constexpr std::uint64_t kFirstGuestCid = 2;  // the guest's own; those below 3 mean others

}  // namespace

/// A QEMU that only says, by its socket's end, when it has ended.
class FolderVm::Line {
  public:
    explicit Line(notify::GuardedFd socket) : socket_(std::move(socket)) {}
    base::Status watch(std::function<void()> ended) {
        auto watch = notify::watch(socket_.get(), EPOLLRDHUP | EPOLLONESHOT,
                                   [ended = std::move(ended)](std::uint32_t) { ended(); });
        if (!watch) return tl::unexpected(std::move(watch).error());
        watch_ = std::move(*watch);
        return {};
    }

  private:
    notify::GuardedFd socket_;
    notify::Watch watch_;
};

FolderVm::FolderVm(std::shared_ptr<Service> service, std::string stem, Has has)
    : service_(std::move(service)), stem_(std::move(stem)), has_(has) {}

base::Status FolderVm::open_memory() {
    auto memory = open_memory_file(stem_ + kMemorySuffix);
    if (!memory) return tl::unexpected(std::move(memory).error());
    // Held by the sentinel too, so that a server that has died is through with telling so before another begins.
    if (::flock(memory->file.get(), LOCK_EX | LOCK_NB) != 0)
        return base::fail(VMRPC_ADDRESS_IN_USE,
                          fmt::format("{}{}: another server serves this VM", stem_, kMemorySuffix));
    take_number();
    struct stat status {};
    if (::fstat(memory->file.get(), &status) != 0) return base::fail_errno("cannot look at a VM's memory", errno);
    identity_ = {status.st_dev, status.st_ino};
    file_bytes_ = kDaxDataOffset + memory->segment_bytes;
    Peer peer{.uid = status.st_uid, .gid = status.st_gid, .pid = 0, .vm = number_};
    auto vm = Vm::make_on(std::move(*memory), *service_, peer);
    if (!vm) return tl::unexpected(std::move(vm).error());
    served_ = std::make_shared<ServedVm>(service_, std::move(*vm));
    return {};
}

void FolderVm::take_number() {
    number_ = ++service_->last_vm;
    title_ = fmt::format("{}: VM {} ({})", service_->name, number_, stem_.substr(stem_.rfind('/') + 1));
}

base::Status FolderVm::start(Ring ring) {
    if (has_.memory)
        VMRPC_TRY(open_memory());
    else
        take_number();
    if (has_.ram) ram_ = std::make_shared<RamHost>(service_, stem_ + kRamSuffix, title_, number_);
    VMRPC_TRY(open_doors(ring));
    if (served_ == nullptr) {
        base::log().info("{}: is served, with memory that its processes lend", title_);
        return {};
    }
    VMRPC_TRY(served_->start(ServedVm::Looking::kYes));
    base::log().info("{}: is served, with memory of {} bytes", title_, served_->vm().bytes());
    return {};
}

base::Status FolderVm::open_doors(Ring ring) {
    if (served_ != nullptr && (ring == Ring::kBest || ring == Ring::kDoorbell)) {
        auto door = accept_at(".doorbell", &FolderVm::on_doorbell);
        if (!door) return tl::unexpected(std::move(door).error());
        doorbell_door_ = std::move(*door);
    }
    if (ring == Ring::kBest || ring == Ring::kVsock) {
        auto door = accept_at(".vsock", &FolderVm::on_vsock);
        if (!door) return tl::unexpected(std::move(door).error());
        vsock_door_ = std::move(*door);
    }
    if (served_ != nullptr && (ring == Ring::kBest || ring == Ring::kSerial)) {
        auto door = accept_at(".serial", &FolderVm::on_serial);
        if (!door) return tl::unexpected(std::move(door).error());
        serial_door_ = std::move(*door);
    }
    auto door = accept_at(".poll", &FolderVm::on_line);
    if (!door) return tl::unexpected(std::move(door).error());
    line_door_ = std::move(*door);
    return {};
}

void FolderVm::meet_waiting_qemu() {
    const auto meet = [this](const std::string& suffix, void (FolderVm::*accepted)(notify::GuardedFd)) {
        auto socket = connect_to_waiting_qemu(stem_ + suffix + kWaitingSuffix);
        if (socket.valid()) (this->*accepted)(std::move(socket));
    };
    if (doorbell_door_ != nullptr) meet(".doorbell", &FolderVm::on_doorbell);
    if (vsock_door_ != nullptr) meet(".vsock", &FolderVm::on_vsock);
}

base::Result<std::unique_ptr<Acceptor>> FolderVm::accept_at(const std::string& suffix,
                                                            void (FolderVm::*accepted)(notify::GuardedFd)) {
    auto file = SocketFile::open(stem_ + suffix, "vm", SOCK_STREAM);
    if (!file) return tl::unexpected(std::move(file).error());
    auto door = std::make_unique<Acceptor>(std::move(*file), title_, service_->sink,
                                           [self = weak_from_this(), accepted](notify::GuardedFd socket) {
                                               if (const auto vm = self.lock())
                                                   (vm.get()->*accepted)(std::move(socket));
                                           });
    VMRPC_TRY(door->start());
    return door;
}

void FolderVm::on_doorbell(notify::GuardedFd socket) {
    if (doorbell_ != nullptr) return turn_away(socket);
    auto session = std::make_shared<Session>(service_, std::move(socket), number_, served_,
                                             [self = weak_from_this(), sink = service_->sink] {
                                                 const std::lock_guard lock(sink->mutex);
                                                 if (const auto vm = self.lock()) vm->doorbell_.reset();
                                             });
    if (const auto started = session->start(); !started) {
        base::log().warn("{}: {} disconnected: {}", title_, session->title(), started.error().text);
        return;
    }
    base::log().info("{}: {} has connected its doorbell", title_, session->title());
    doorbell_ = std::move(session);
}

void FolderVm::turn_away(const notify::GuardedFd& socket) const {
    base::log().warn("{}: a second QEMU (pid {}) connects: only one may have this memory, so it is turned away", title_,
                     peer_of(socket.get()).pid);
}

void FolderVm::on_vsock(notify::GuardedFd socket) {
    if (streams_ != nullptr) return turn_away(socket);
    const Peer peer = peer_of(socket.get());
    auto streams = std::make_shared<RingStreams>(
        served_ == nullptr ? std::weak_ptr<Vm>() : served_->vm().weak_from_this(),
        served_ == nullptr ? layout::Uuid{} : served_->vm().uuid(), ram_,
        [self = weak_from_this(), sink = service_->sink] {
            const auto vm = self.lock();
            const std::lock_guard lock(sink->mutex);
            if (vm == nullptr) return;
            base::log().info("{}: its QEMU has ended, or its vsock device has", vm->title_);
            const auto ended = std::move(vm->streams_);
            if (vm->served_ != nullptr) vm->served_->vm().set_streams(StreamKind::kVsock, nullptr);
            vm->lose_all();
        });
    if (const auto started = streams->start(std::move(socket), kFirstGuestCid + number_); !started) {
        base::log().warn("{}: QEMU (pid {}) disconnected: {}", title_, peer.pid, started.error().text);
        return;
    }
    base::log().info("{}: QEMU (pid {}, uid {}) has connected its vsock device", title_, peer.pid, peer.uid);
    streams_ = streams;
    if (served_ != nullptr) served_->vm().set_streams(StreamKind::kVsock, std::move(streams));
}

void FolderVm::on_serial(notify::GuardedFd socket) {
    const Peer peer = peer_of(socket.get());
    const auto ports = ports_ != nullptr ? ports_ : make_ports();
    if (const auto added = ports->add(std::move(socket)); !added) {
        base::log().warn("{}: QEMU (pid {}) connects a port, and is turned away: {}", title_, peer.pid,
                         added.error().text);
        return;
    }
    if (ports_ != nullptr) return;
    base::log().info("{}: QEMU (pid {}, uid {}) has connected its ports", title_, peer.pid, peer.uid);
    ports_ = ports;
    served_->vm().set_streams(StreamKind::kSerial, ports);
}

std::shared_ptr<SerialPorts> FolderVm::make_ports() {
    Vm& vm = served_->vm();
    return std::make_shared<SerialPorts>(
        vm.weak_from_this(), vm.uuid(), vm.entries(), [self = weak_from_this(), sink = service_->sink] {
            const auto ending = self.lock();
            const std::lock_guard lock(sink->mutex);
            if (ending == nullptr) return;
            base::log().info("{}: its QEMU has ended, or its ports have", ending->title_);
            const auto ended = std::move(ending->ports_);
            ending->served_->vm().set_streams(StreamKind::kSerial, nullptr);
            ending->lose_all();
        });
}

void FolderVm::lose_all() {
    if (served_ != nullptr) served_->lose_all();
    if (ram_ != nullptr) ram_->lose_all();
}

void FolderVm::on_line(notify::GuardedFd socket) {
    const Peer peer = peer_of(socket.get());
    if (line_ != nullptr) return turn_away(socket);
    auto line = std::make_shared<Line>(std::move(socket));
    const auto watched = line->watch([self = weak_from_this(), sink = service_->sink] {
        std::shared_ptr<Line> ended;
        const auto vm = self.lock();
        const std::lock_guard lock(sink->mutex);
        if (vm == nullptr) return;
        base::log().info("{}: its QEMU has ended", vm->title_);
        ended = std::move(vm->line_);
        vm->lose_all();
    });
    if (!watched) {
        base::log().warn("{}: QEMU (pid {}) disconnected: {}", title_, peer.pid, watched.error().text);
        return;
    }
    base::log().info("{}: QEMU (pid {}, uid {}) has connected, without a doorbell", title_, peer.pid, peer.uid);
    line_ = std::move(line);
}

base::Status FolderVm::check() const {
    if (has_.memory) VMRPC_TRY(check_memory());
    return ram_ != nullptr ? ram_->check() : base::Status();
}

base::Status FolderVm::check_memory() const {
    struct stat status {};
    if (::stat((stem_ + kMemorySuffix).c_str(), &status) != 0)
        return base::fail_errno(fmt::format("{}{}", stem_, kMemorySuffix), errno);
    if (FileIdentity{status.st_dev, status.st_ino} != identity_)
        return base::fail(VMRPC_NOT_VMRPC, fmt::format("{}{} is another file now", stem_, kMemorySuffix));
    if (static_cast<std::uint64_t>(status.st_size) < file_bytes_)
        return base::fail(VMRPC_NOT_VMRPC, fmt::format("{}{} was cut off: it has {} bytes, and had {}", stem_,
                                                       kMemorySuffix, status.st_size, file_bytes_));
    return {};
}

void FolderVm::end() {
    stop_all();
    lose_all();
    if (served_ != nullptr) served_->close();
    if (ram_ != nullptr) ram_->close();
    doorbell_.reset();
    streams_.reset();
    ports_.reset();
    line_.reset();
}

void FolderVm::stop_all() {
    doorbell_door_.reset();
    vsock_door_.reset();
    serial_door_.reset();
    line_door_.reset();
    if (served_ == nullptr) return;
    served_->vm().set_streams(StreamKind::kVsock, nullptr);
    served_->vm().set_streams(StreamKind::kSerial, nullptr);
    served_->stop();
}

void FolderVm::close() {
    stop_all();
    if (served_ != nullptr) served_->close();
    if (ram_ != nullptr) ram_->close();
}

}  // namespace vmrpc::transport::vm
