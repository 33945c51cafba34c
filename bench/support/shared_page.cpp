#include "support/shared_page.hpp"

#include "base/fd.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace vmrpc::bench {

SharedPage::SharedPage() {
    const base::Fd memory(::memfd_create("vmrpc-bench", MFD_CLOEXEC));
    if (!memory.valid() || ::ftruncate(memory.get(), kBytes) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot make shared memory");
    base_ = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
    if (base_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "cannot map shared memory");
}

SharedPage::~SharedPage() {
    ::munmap(base_, kBytes);
}

}  // namespace vmrpc::bench
