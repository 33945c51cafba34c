#include "transport/vm/ram/ram_host.hpp"

#include "base/log.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/ram/ram_segment.hpp"

#include <fmt/format.h>

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

constexpr std::uint32_t kRamRefusalsLogged = 16;  // of each VM

/// Rings the one process of such a segment.
class RingsOneProcess final : public RingsByStream {
  public:
    explicit RingsOneProcess(std::shared_ptr<GuestStream> stream) : stream_(std::move(stream)) {}
    void ring(std::uint32_t /*entry*/) noexcept override {
        const std::byte rung{kRequestVector};
        stream_->send({&rung, 1});
    }

  private:
    std::shared_ptr<GuestStream> stream_;
};

bool has(std::span<const std::byte> bytes, std::uint8_t byte) {
    return std::find(bytes.begin(), bytes.end(), std::byte{byte}) != bytes.end();
}

}  // namespace

RamHost::RamHost(std::shared_ptr<Service> service, std::string path, std::string title, std::uint32_t vm_number)
    : service_(std::move(service)), path_(std::move(path)), title_(std::move(title)), vm_number_(vm_number) {}

std::uint64_t RamHost::most_bytes() const {
    return segment_bytes_for(service_->most, 1);
}

/// A VM that was started anew may have another file, and a larger one.
base::Status RamHost::refresh_file() {
    auto file = open_ram_file(path_);
    if (!file) return tl::unexpected(std::move(file).error());
    struct stat status {};
    if (::fstat(file->file.get(), &status) != 0) return base::fail_errno("cannot look at a VM's RAM", errno);
    file_ = std::move(*file);
    peer_ = Peer{.uid = status.st_uid, .gid = status.st_gid, .pid = 0, .vm = vm_number_};
    return {};
}

// Those that are let go of, but whose functions still run, count too, or a guest could have any number.
base::Status RamHost::check_count() {
    const std::lock_guard lock(mutex_);
    if (served_.size() < service_->entries && segments_.size() < 2 * std::size_t{service_->entries}) return {};
    return base::fail(
        VMRPC_OUT_OF_RESOURCES,
        fmt::format("{} processes of this VM are connected or end, {} are the most that the service takes "
                    "(processes=): close a connection",
                    segments_.size(), service_->entries));
}

base::Result<std::shared_ptr<ServedVm>> RamHost::serve(const RamHello& hello, std::span<const RamRun> runs,
                                                       const std::shared_ptr<GuestStream>& stream) {
    std::erase_if(segments_, [](const auto& segment) { return segment.expired(); });
    VMRPC_TRY(check_count());
    VMRPC_TRY(refresh_file());
    auto pieces = check_runs(runs, hello.segment_bytes, file_.bytes);
    if (!pieces) return tl::unexpected(std::move(pieces).error());
    auto segment = RamSegment::map(file_, path_, std::move(*pieces), hello.nonce);
    if (!segment) return tl::unexpected(std::move(segment).error());
    auto vm = Vm::make_in_ram(std::move(*segment), peer_);
    if (!vm) return tl::unexpected(std::move(vm).error());
    (*vm)->set_streams(StreamKind::kVsock, std::make_shared<RingsOneProcess>(stream));
    segments_.push_back(*vm);
    auto served = std::make_shared<ServedVm>(service_, std::move(*vm));
    VMRPC_TRY(served->start(ServedVm::Looking::kNo));
    return served;
}

base::Result<std::uint64_t> RamHost::open(const RamHello& hello, std::span<const RamRun> runs,
                                          std::shared_ptr<GuestStream> stream) {
    auto served = serve(hello, runs, stream);
    if (!served) return tl::unexpected(std::move(served).error());
    base::log().info("{}: a process lends {} bytes of its memory, in {} pieces", title_, hello.segment_bytes,
                     runs.size());
    const std::lock_guard lock(mutex_);
    if (is_closed_) return base::fail(VMRPC_NO_SERVER, "the server has ended");
    served_.emplace(++last_name_, std::move(*served));
    return last_name_;
}

std::shared_ptr<ServedVm> RamHost::find(std::uint64_t segment) {
    const std::lock_guard lock(mutex_);
    const auto found = served_.find(segment);
    return found == served_.end() ? nullptr : found->second;
}

bool RamHost::ring(std::uint64_t segment, std::span<const std::byte> vectors) {
    const auto served = find(segment);
    if (served == nullptr) return false;
    if (has(vectors, kRequestVector)) served->vm().ring_requests();
    if (has(vectors, kDirectoryVector)) served->vm().ring_directory();
    return true;
}

// Not at once: an event may end the listener, and with it the stream in whose event this is.
void RamHost::end_soon(std::uint64_t segment) {
    const std::lock_guard lock(mutex_);
    const auto found = served_.find(segment);
    if (found == served_.end()) return;
    ending_.push_back(std::move(found->second));
    served_.erase(found);
    auto timer = notify::after(0, [self = weak_from_this()] {
        if (const auto host = self.lock()) host->end_those_that_end();
    });
    // The housekeeper is running, so that a timer costs nothing that could be short.
    if (timer) timer_ = std::move(*timer);
}

void RamHost::end_those_that_end() {
    std::vector<std::shared_ptr<ServedVm>> ending;
    {
        const std::lock_guard lock(mutex_);
        ending.swap(ending_);
    }
    for (const auto& served : ending) {
        served->stop();
        served->lose_all();
    }
}

void RamHost::lose_all() {
    {
        const std::lock_guard lock(mutex_);
        for (auto& [name, served] : served_) ending_.push_back(std::move(served));
        served_.clear();
    }
    end_those_that_end();
}

void RamHost::close() {
    Served served;
    std::vector<std::shared_ptr<ServedVm>> ending;
    notify::Watch timer;
    {
        const std::lock_guard lock(mutex_);
        is_closed_ = true;
        served.swap(served_);
        ending.swap(ending_);
        timer = std::move(timer_);
    }
    timer.reset();
    for (const auto& [name, one] : served) {
        one->stop();
        one->close();
    }
}

base::Status RamHost::check() const {
    if (!file_.file.valid()) return {};
    struct stat now {};
    struct stat ours {};
    if (::stat(path_.c_str(), &now) != 0) return base::fail_errno(path_, errno);
    if (::fstat(file_.file.get(), &ours) != 0) return base::fail_errno(path_, errno);
    if (now.st_dev != ours.st_dev || now.st_ino != ours.st_ino)
        return base::fail(VMRPC_NOT_VMRPC, fmt::format("{} is another file now", path_));
    if (static_cast<std::uint64_t>(now.st_size) >= file_.bytes) return {};
    return base::fail(VMRPC_NOT_VMRPC,
                      fmt::format("{} was cut off: it has {} bytes, and had {}", path_, now.st_size, file_.bytes));
}

void RamHost::log_refusal(const base::Error& why) {
    const auto level = ++refusals_ <= kRamRefusalsLogged ? spdlog::level::warn : spdlog::level::debug;
    base::log().log(level, "{}: a process's memory is refused: {}", title_, why.text);
}

RamTalk::~RamTalk() {
    if (segment_ != 0) host_->end_soon(segment_);
}

std::size_t RamTalk::wanted_bytes() const {
    if (said_.size() < sizeof(RamHello)) return sizeof(RamHello) - said_.size();
    RamHello hello{};
    std::memcpy(&hello, said_.data(), sizeof hello);
    return sizeof hello + hello.run_count * sizeof(RamRun) - said_.size();
}

bool RamTalk::received(std::span<const std::byte> bytes) {
    while (segment_ == 0 && !bytes.empty()) {
        const std::size_t taken = std::min(wanted_bytes(), bytes.size());
        said_.insert(said_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
        bytes = bytes.subspan(taken);
        if (said_.size() >= sizeof(RamHello) && !take_hello()) return false;
    }
    if (segment_ == 0) return true;
    return !has(bytes, kLeave) && host_->ring(segment_, bytes);
}

// Before the runs are there it is looked at already: of one that cannot be, none are waited for.
bool RamTalk::take_hello() {
    RamHello hello{};
    std::memcpy(&hello, said_.data(), sizeof hello);
    if (const auto checked = check_hello(hello, host_->most_bytes()); !checked) {
        answer(checked);
        return false;
    }
    if (wanted_bytes() != 0) return true;
    std::vector<RamRun> runs(hello.run_count);
    std::memcpy(runs.data(), said_.data() + sizeof hello, runs.size() * sizeof(RamRun));
    said_ = {};
    const auto opened = host_->open(hello, runs, stream_);
    if (opened) segment_ = *opened;
    answer(opened ? base::Status() : tl::unexpected(opened.error()));
    stream_.reset();
    return opened.has_value();
}

void RamTalk::answer(const base::Status& status) {
    RamAnswer answer{};
    answer.magic = kRamMagic;
    answer.status = static_cast<std::uint32_t>(status ? VMRPC_OK : status.error().status);
    if (!status) status.error().text.copy(answer.text.data(), answer.text.size() - 1);
    stream_->send(std::as_bytes(std::span(&answer, 1)));
    if (!status) host_->log_refusal(status.error());
}

}  // namespace vmrpc::transport::vm
