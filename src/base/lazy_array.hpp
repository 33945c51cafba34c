// Memory that costs nothing until it is used.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <type_traits>

namespace vmrpc::base {

/// Elements that are all zero bits at first, in pages of their own, each taken when an element in it is first written.
template <class T>
class LazyArray {
    static_assert(std::is_trivially_destructible_v<T>);

  public:
    /// Requires that count is not 0. Throws std::bad_alloc.
    explicit LazyArray(std::size_t count) : bytes_(count * sizeof(T)) {
        constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void* mapped = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, kFlags, -1, 0);
        if (mapped == MAP_FAILED) throw std::bad_alloc{};
        elements_ = static_cast<T*>(mapped);
    }
    LazyArray(const LazyArray&) = delete;
    LazyArray& operator=(const LazyArray&) = delete;
    ~LazyArray() { ::munmap(elements_, bytes_); }

    [[nodiscard]] T& operator[](std::size_t index) { return elements_[index]; }
    [[nodiscard]] const T& operator[](std::size_t index) const { return elements_[index]; }

  private:
    std::size_t bytes_;
    T* elements_;
};

}  // namespace vmrpc::base
