// Memory that two processes share: what is compared with the library uses the kind that the library uses.
#pragma once

#include <cstddef>

namespace vmrpc::bench {

/// A page of a memfd, mapped MAP_SHARED. Children that are forked while it is there share it.
class SharedPage {
  public:
    static constexpr std::size_t kBytes = 4096;
    /// Zero bytes. Throws std::system_error.
    SharedPage();
    SharedPage(const SharedPage&) = delete;
    SharedPage& operator=(const SharedPage&) = delete;
    ~SharedPage();

    template <class T>
    [[nodiscard]] T& as() const {
        static_assert(sizeof(T) <= kBytes);
        return *static_cast<T*>(base_);
    }

  private:
    void* base_ = nullptr;
};

}  // namespace vmrpc::bench
