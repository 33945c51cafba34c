#include "transport/vm/folder_listener.hpp"

#include "base/log.hpp"
#include "transport/vm/device_listener.hpp"
#include "transport/vm/waiting_qemu.hpp"

#include <fmt/format.h>

#include <dirent.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

namespace vmrpc::transport::vm {
namespace {

/// Between two looks at what no change of the folder tells of: a file that is cut off, a server that ends.
constexpr std::int64_t kFolderLookNs = 1'000'000'000;
/// The same, where it was in the way a moment ago.
constexpr std::int64_t kSoonNs = 100'000'000;
constexpr const char* kBarSocket = "/bar.doorbell";
constexpr const char* kBarSuffix = ".bar";  // of a QEMU that waits for memory as well

/// NAME of each NAME with this suffix.
std::vector<std::string> files_in(const std::string& folder, std::string_view suffix) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(folder.c_str()), &::closedir);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own
    while (const dirent* entry = listing != nullptr ? ::readdir(listing.get()) : nullptr) {
        const std::string_view file = entry->d_name;
        if (file.size() > suffix.size() && file.ends_with(suffix))
            names.emplace_back(file.substr(0, file.size() - suffix.size()));
    }
    return names;
}

}  // namespace

FolderListener::FolderListener(Address address, std::shared_ptr<Service> service)
    : address_(std::move(address)), service_(std::move(service)) {}

FolderListener::~FolderListener() {
    std::map<std::string, std::shared_ptr<FolderVm>> vms;
    notify::Watch watch;
    notify::Watch next_look;
    {
        const std::lock_guard lock(service_->sink->mutex);
        service_->sink->events = nullptr;
        vms.swap(vms_);
        const std::lock_guard watches_lock(watches_mutex_);
        watch = std::move(watch_);
        next_look = std::move(next_look_);
    }
    // Without the mutex: a callback that has begun waits for it, and these destructors wait for the callback.
    watch.reset();
    next_look.reset();
    for (const auto& [name, vm] : vms) vm->close();
}

base::Status FolderListener::start() {
    if (::mkdir(address_.place.c_str(), 0755) != 0 && errno != EEXIST)
        return base::fail_errno(fmt::format("vm:{}: cannot make the folder", address_.place), errno);
    if (address_.memory == Memory::kBest || address_.memory == Memory::kBar) {
        auto bar = BarListener::open(address_.place + kBarSocket, service_);
        if (!bar) return tl::unexpected(std::move(bar).error());
        bar_ = std::move(*bar);
    }
    return watch_folder();
}

base::Status FolderListener::watch_folder() {
    changes_ = notify::GuardedFd::made_by([] { return ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC); });
    if (!changes_.valid()) return base::fail_errno("cannot watch a folder: inotify", errno);
    constexpr std::uint32_t events = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ATTRIB;
    if (::inotify_add_watch(changes_.get(), address_.place.c_str(), events | IN_ONLYDIR) < 0)
        return base::fail_errno(fmt::format("vm:{}: cannot watch the folder", address_.place), errno);
    const std::lock_guard lock(watches_mutex_);
    auto watch = notify::watch(changes_.get(), EPOLLIN, [this](std::uint32_t) { on_change(); });
    if (!watch) return tl::unexpected(std::move(watch).error());
    watch_ = std::move(*watch);
    // What is there already: on the housekeeping thread too, as all that follows.
    auto next_look = notify::after(0, [this] { look(); });
    if (!next_look) return tl::unexpected(std::move(next_look).error());
    next_look_ = std::move(*next_look);
    return {};
}

void FolderListener::on_change() {
    alignas(inotify_event) std::array<char, 4096> said{};
    // What it says does not matter: the folder is looked at.
    while (::read(changes_.get(), said.data(), said.size()) > 0) {
    }
    look();
}

void FolderListener::look() {
    const auto sink = service_->sink;
    const std::lock_guard lock(sink->mutex);
    if (sink->events != nullptr) end_what_has_changed();
    if (sink->events == nullptr) return;  // events may have ended this listener
    scan();
    look_later();
}

void FolderListener::end_what_has_changed() {
    const auto sink = service_->sink;
    std::vector<std::shared_ptr<FolderVm>> ended;
    for (auto item = vms_.begin(); item != vms_.end();) {
        const auto fine = item->second->check();
        // A file that is gone lives on as long as QEMU has it.
        if (fine || (fine.error().status == VMRPC_NO_SERVER && item->second->is_alive())) {
            ++item;
            continue;
        }
        base::log().warn("{}: {}: not served any more", service_->name, fine.error().text);
        ended.push_back(std::move(item->second));
        item = vms_.erase(item);
    }
    for (const auto& vm : ended) vm->end();
}

// Pages are lent over a stream.
std::map<std::string, FolderVm::Has> FolderListener::find_vms() const {
    const bool has_streams = address_.ring == Ring::kBest || address_.ring == Ring::kVsock;
    const bool is_ram = address_.memory == Memory::kBest || address_.memory == Memory::kRam;
    const bool allows_ram = is_ram && has_streams;
    std::map<std::string, FolderVm::Has> found;
    if (address_.memory != Memory::kRam && address_.memory != Memory::kBar)
        for (const std::string& name : files_in(address_.place, kMemorySuffix)) found[name] = {true, allows_ram};
    if (allows_ram)
        for (const std::string& name : files_in(address_.place, kRamSuffix)) found[name].ram = true;
    return found;
}

void FolderListener::scan() {
    for (const auto& [name, has] : find_vms())
        if (!vms_.contains(name)) begin(name, has);
    for (const auto& [name, vm] : vms_) vm->meet_waiting_qemu();
    if (bar_ == nullptr) return;
    const std::string suffix = std::string(kBarSuffix) + kWaitingSuffix;
    for (const std::string& name : files_in(address_.place, suffix)) {
        auto socket = connect_to_waiting_qemu(fmt::format("{}/{}{}", address_.place, name, suffix));
        if (socket.valid()) bar_->begin(std::move(socket));
    }
}

void FolderListener::begin(const std::string& name, FolderVm::Has has) {
    if (name == "bar")
        return refuse(name, {VMRPC_BAD_ADDRESS, "no VM may be called \"bar\", as bar.doorbell is for all of them"});
    auto vm = std::make_shared<FolderVm>(service_, fmt::format("{}/{}", address_.place, name), has);
    if (const auto started = vm->start(address_.ring); !started) return refuse(name, started.error());
    refused_.erase(name);
    vms_.emplace(name, std::move(vm));
}

void FolderListener::refuse(const std::string& name, const base::Error& why) {
    if (std::exchange(refused_[name], why.text) == why.text) return;
    // The server before this one is perhaps just ending.
    if (why.status == VMRPC_ADDRESS_IN_USE) soon_until_ = base::Deadline::in(kFolderLookNs);
    base::log().warn("{}: VM {} is not served: {}", service_->name, name, why.text);
}

void FolderListener::look_later() {
    auto next_look = notify::after(soon_until_.passed() ? kFolderLookNs : kSoonNs, [this] { look(); });
    if (!next_look) return;  // the next change of the folder does it
    const std::lock_guard lock(watches_mutex_);
    next_look_ = std::move(*next_look);
}

base::Result<std::unique_ptr<Listener>> VmTransport::listen(const ListenRequest& request, ListenerEvents& events) {
    auto address = parse_address(request.address);
    if (!address) return tl::unexpected(std::move(address).error());
    auto service = make_service("vm:" + address->place, request, events);
    if (!service) return tl::unexpected(std::move(service).error());
    (*service)->entries = address->processes;
    if (address->place.find('/') == std::string::npos) {
        auto listener = std::make_unique<DeviceListener>(std::move(*service));
        VMRPC_TRY(listener->start(address->place));
        return listener;
    }
    auto listener = std::make_unique<FolderListener>(std::move(*address), std::move(*service));
    VMRPC_TRY(listener->start());
    return listener;
}

}  // namespace vmrpc::transport::vm
