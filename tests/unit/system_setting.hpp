// What a test changes of the machine, for as long as it needs it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

namespace vmrpc::test {

/// A number behind a word of a file of /proc, in KiB or pages as it says.
inline std::uint64_t number_in(const char* path, const std::string& word) {
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
        if (line.compare(0, word.size(), word) == 0) return std::stoull(line.substr(word.size() + 1));
    }
    return 0;
}

inline std::uint64_t free_pool_pages() {
    return number_in("/proc/meminfo", "HugePages_Free:") - number_in("/proc/meminfo", "HugePages_Rsvd:");
}

/// A file of /proc or /sys, restored when the object goes.
class SystemSetting {
  public:
    /// `before` is what is written back.
    SystemSetting(std::string path, std::string before, const std::string& now) : path_(std::move(path)) {
        if (write(now)) before_ = std::move(before);
    }
    SystemSetting(const SystemSetting&) = delete;
    SystemSetting& operator=(const SystemSetting&) = delete;
    ~SystemSetting() {
        if (before_) write(*before_);
    }
    [[nodiscard]] bool was_changed() const { return before_.has_value(); }

    static std::string read(const std::string& path) {
        std::ifstream in(path);
        std::string text;
        std::getline(in, text);
        return text;
    }

  private:
    bool write(const std::string& text) const {
        std::ofstream out(path_);
        out << text << std::flush;
        return out.good();
    }
    std::string path_;
    std::optional<std::string> before_;
};

/// So many free huge pages in the system's pool, if it lets us have them.
class PoolPages {
  public:
    explicit PoolPages(std::uint64_t wanted) : wanted_(wanted) {
        const std::string before = SystemSetting::read(kPath);
        if (free_pool_pages() < wanted && !before.empty())
            count_.emplace(kPath, before, std::to_string(std::stoull(before) + wanted - free_pool_pages()));
    }
    [[nodiscard]] bool are_there() const { return free_pool_pages() >= wanted_; }

  private:
    static constexpr auto kPath = "/proc/sys/vm/nr_hugepages";
    std::uint64_t wanted_;
    std::optional<SystemSetting> count_;
};

/// The word in brackets in a file of /sys/kernel/mm/transparent_hugepage, set for as long as the object lives.
class TransparentSetting {
  public:
    explicit TransparentSetting(const std::string& word) {
        const std::string words = SystemSetting::read(kPath);
        const auto begin = words.find('[');
        const auto end = words.find(']');
        if (begin == std::string::npos || end == std::string::npos) return;
        setting_.emplace(kPath, words.substr(begin + 1, end - begin - 1), word);
    }
    [[nodiscard]] bool is_set() const { return setting_ && setting_->was_changed(); }
    static constexpr auto kPath = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

  private:
    std::optional<SystemSetting> setting_;
};

}  // namespace vmrpc::test
