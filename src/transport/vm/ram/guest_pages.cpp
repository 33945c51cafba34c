#include "transport/vm/ram/guest_pages.hpp"

#include "base/fd.hpp"
#include "base/log.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/mount.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>

namespace vmrpc::transport::vm {
namespace {

constexpr std::uint64_t kMostPinnedAtOnce = std::uint64_t{512} << 20;  // a registered buffer has 1 GiB at most
constexpr std::uint64_t kTakenAtOnce = std::uint64_t{8} << 20;
constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kFrameMask = (std::uint64_t{1} << 55) - 1;

/// A mapping while the pages are prepared. Forks do not matter: the pages are shared, and pinned by whom they are.
class View {
  public:
    static std::optional<View> of(int file, std::uint64_t bytes) {
        // Where huge pages can be mapped as such: one fault for each, and not 512.
        constexpr std::uint64_t alignment = std::uint64_t{2} << 20;
        void* gap = ::mmap(nullptr, bytes + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (gap == MAP_FAILED) return std::nullopt;
        View view(static_cast<std::byte*>(gap), bytes + alignment);
        auto* base = reinterpret_cast<std::byte*>((view.address() + alignment - 1) / alignment * alignment);
        if (::mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
            return std::nullopt;
        ::madvise(base, bytes, MADV_DONTFORK);
        ::madvise(base, bytes, MADV_DONTDUMP);
        view.base_ = base;
        view.bytes_ = bytes;
        return view;
    }
    View(View&& other) noexcept
        : gap_(std::exchange(other.gap_, nullptr)),
          gap_bytes_(other.gap_bytes_),
          base_(other.base_),
          bytes_(other.bytes_) {}
    View& operator=(View&&) = delete;
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    ~View() {
        if (gap_ != nullptr) ::munmap(gap_, gap_bytes_);
    }
    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(base_); }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  private:
    View(std::byte* gap, std::uint64_t bytes) : gap_(gap), gap_bytes_(bytes), base_(gap), bytes_(bytes) {}
    std::byte* gap_;
    std::uint64_t gap_bytes_;
    std::byte* base_;
    std::uint64_t bytes_;
};

// A file of a file system of its own, which is mounted nowhere: so its pages can be huge ones, whatever the system does
// with memfds (whose setting is "never" nearly everywhere). Who may read frame numbers may do this too.
int make_huge_file(std::uint64_t bytes) {
    const base::Fd context(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
    if (!context.valid()) return -1;
    const auto set = [&context](const char* key, const char* value) {
        return ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, key, value, 0) == 0;
    };
    const std::string size = std::to_string(2 * bytes);
    if (!set("huge", "always") || !set("size", size.c_str()) ||
        ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
        return -1;
    const base::Fd mount(static_cast<int>(
        ::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)));
    return mount.valid() ? ::openat(mount.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
}

base::Result<notify::GuardedFd> make_file(std::uint64_t bytes) {
    auto file = notify::GuardedFd::made_by([bytes] { return make_huge_file(bytes); });
    if (!file.valid())
        file = notify::GuardedFd::made_by([] { return static_cast<int>(::memfd_create("vmrpc", MFD_CLOEXEC)); });
    if (!file.valid()) return base::fail_errno("cannot make shared memory: memfd_create", errno);
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0)
        return base::fail_errno(fmt::format("cannot make {} bytes of shared memory", bytes), errno);
    return file;
}

base::Status take_all(int file, std::uint64_t bytes) {
    // In parts, as what a signal interrupts is undone.
    for (std::uint64_t done = 0; done < bytes;) {
        const std::uint64_t part = std::min(kTakenAtOnce, bytes - done);
        if (::fallocate(file, 0, static_cast<off_t>(done), static_cast<off_t>(part)) == 0)
            done += part;
        else if (errno != EINTR)
            return base::fail_errno(
                fmt::format("this VM has no {} bytes of memory left for memory=ram: wish a smaller heap_bytes", bytes),
                errno);
    }
    return {};
}

/// Requires that the page is there. 0: the kernel does not say.
base::Result<std::vector<std::uint64_t>> frames_of(int pagemap, const View& view, std::uint64_t first_page,
                                                   std::uint64_t pages) {
    std::vector<std::uint64_t> entries(pages);
    const auto place = static_cast<off_t>((view.address() / kRamPageBytes + first_page) * sizeof(std::uint64_t));
    const std::size_t bytes = pages * sizeof(std::uint64_t);
    if (::pread(pagemap, entries.data(), bytes, place) != static_cast<ssize_t>(bytes))
        return base::fail_errno("cannot read /proc/self/pagemap", errno);
    for (std::uint64_t& entry : entries) entry = (entry & kPresent) != 0 ? entry & kFrameMask : 0;
    return entries;
}

tl::unexpected<base::Error> not_permitted() {
    return base::fail(
        VMRPC_NOT_PERMITTED,
        fmt::format("memory=ram needs CAP_SYS_ADMIN, without which the kernel tells nobody where its pages "
                    "are, and user {} has not got it: run the program as root, or give it the capability "
                    "(AmbientCapabilities=CAP_SYS_ADMIN CAP_IPC_LOCK of a systemd service), or take "
                    "memory=dax, which needs neither",
                    ::geteuid()));
}

// Told before much is done: without the right every number is 0.
base::Status check_permitted(int pagemap, const View& view) {
    *reinterpret_cast<volatile std::byte*>(view.base()) = std::byte{};
    const auto frames = frames_of(pagemap, view, 0, 1);
    if (!frames) return tl::unexpected(frames.error());
    if (frames->front() != 0) return {};
    return not_permitted();
}

void write_marks(const View& view, const std::vector<RamRun>& runs, std::uint64_t nonce) {
    std::uint64_t offset = 0;
    for (const RamRun& run : runs) {
        const RamMark mark{nonce, offset};
        std::memcpy(view.base() + offset, &mark, sizeof mark);
        offset += run.bytes;
    }
}

void raise_memlock() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_MEMLOCK, &limit);
}

tl::unexpected<base::Error> cannot_pin(const char* what, int error, std::uint64_t bytes) {
    const std::string reason = std::generic_category().message(error);
    if (error == ENOSYS)
        return base::fail(VMRPC_NOT_SUPPORTED, "memory=ram needs a kernel with io_uring, which keeps pages in place");
    if (error == EPERM)
        return base::fail(VMRPC_NOT_PERMITTED,
                          fmt::format("memory=ram keeps its pages in place by io_uring, which this process may not use "
                                      "({}): see kernel.io_uring_disabled, or take memory=dax",
                                      what));
    if (error != ENOMEM) return base::fail_errno(fmt::format("cannot keep {} bytes in place: {}", bytes, what), error);
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    return base::fail(VMRPC_OUT_OF_RESOURCES,
                      fmt::format("cannot keep {} bytes in place: {}; RLIMIT_MEMLOCK is {} bytes: raise it, give the "
                                  "program CAP_IPC_LOCK, or wish a smaller heap_bytes",
                                  bytes, reason, limit.rlim_cur));
}

base::Result<notify::GuardedFd> pin_pages(const View& view) {
    io_uring_params parameters{};
    auto ring = notify::GuardedFd::made_by(
        [&parameters] { return static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters)); });
    if (!ring.valid()) return cannot_pin("io_uring_setup", errno, view.bytes());
    ::fcntl(ring.get(), F_SETFD, FD_CLOEXEC);
    std::vector<iovec> parts;
    for (std::uint64_t offset = 0; offset < view.bytes(); offset += kMostPinnedAtOnce)
        parts.push_back({view.base() + offset, std::min(kMostPinnedAtOnce, view.bytes() - offset)});
    if (::syscall(SYS_io_uring_register, ring.get(), IORING_REGISTER_BUFFERS, parts.data(), parts.size()) != 0)
        return cannot_pin("IORING_REGISTER_BUFFERS", errno, view.bytes());
    return ring;
}

base::Result<std::vector<RamRun>> find_runs(int pagemap, const View& view) {
    constexpr std::uint64_t at_once = 4096;
    std::vector<RamRun> runs;
    const std::uint64_t pages = view.bytes() / kRamPageBytes;
    for (std::uint64_t first = 0; first < pages; first += at_once) {
        const auto frames = frames_of(pagemap, view, first, std::min(at_once, pages - first));
        if (!frames) return tl::unexpected(frames.error());
        for (const std::uint64_t frame : *frames) {
            if (frame == 0) return base::fail(VMRPC_OUT_OF_RESOURCES, "a page that was pinned is not there");
            append_page(runs, frame * kRamPageBytes);
        }
    }
    if (runs.size() <= kMostRamRuns) return runs;
    return base::fail(
        VMRPC_OUT_OF_RESOURCES,
        fmt::format("this VM's memory is in small pieces: {} bytes are in {} of them, {} are the most: wish "
                    "a smaller heap_bytes, or restart the VM",
                    view.bytes(), runs.size(), kMostRamRuns));
}

}  // namespace

void append_page(std::vector<RamRun>& runs, std::uint64_t address) {
    if (!runs.empty() && runs.back().address + runs.back().bytes == address)
        runs.back().bytes += kRamPageBytes;
    else
        runs.push_back({address, kRamPageBytes});
}

base::Result<GuestPages> GuestPages::make(std::uint64_t bytes) {
    if (::sysconf(_SC_PAGESIZE) != static_cast<long>(kRamPageBytes))
        return base::fail(VMRPC_NOT_SUPPORTED, "memory=ram is for kernels with pages of 4096 bytes");
    const auto pagemap = notify::GuardedFd::made_by([] { return ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC); });
    // A program that was root, and is not any more, may not even open it.
    if (!pagemap.valid() && (errno == EACCES || errno == EPERM)) return not_permitted();
    if (!pagemap.valid()) return base::fail_errno("memory=ram: cannot open /proc/self/pagemap", errno);
    GuestPages pages;
    pages.bytes = bytes;
    if (::getrandom(&pages.nonce, sizeof pages.nonce, 0) != static_cast<ssize_t>(sizeof pages.nonce))
        return base::fail_errno("cannot take a random number", errno);
    auto file = make_file(bytes);
    if (!file) return tl::unexpected(std::move(file).error());
    pages.file = std::move(*file);
    const auto view = View::of(pages.file.get(), bytes);
    if (!view) return base::fail_errno(fmt::format("cannot map {} bytes", bytes), errno);
    VMRPC_TRY(check_permitted(pagemap.get(), *view));
    VMRPC_TRY(take_all(pages.file.get(), bytes));
    auto ring = pin_pages(*view);
    if (!ring && ring.error().status == VMRPC_OUT_OF_RESOURCES) {
        raise_memlock();
        ring = pin_pages(*view);
    }
    if (!ring) return tl::unexpected(std::move(ring).error());
    pages.pin = std::move(*ring);
    auto runs = find_runs(pagemap.get(), *view);
    if (!runs) return tl::unexpected(std::move(runs).error());
    pages.runs = std::move(*runs);
    write_marks(*view, pages.runs, pages.nonce);
    return pages;
}

}  // namespace vmrpc::transport::vm
