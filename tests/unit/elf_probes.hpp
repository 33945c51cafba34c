// The static probes (USDT) of a program's file, from its ELF notes; and how often the kernel sees one of them reached.
#pragma once

#include <elf.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace vmrpc::test {

struct Probe {
    std::string provider;
    std::string name;
    std::string arguments;      // as the assembler wrote them: 4@8(%rax) 8@%rdx
    std::uint64_t file_offset;  // of its nop
};

/// A 64-bit ELF file of ours: taken as it should be.
class ElfFile {
  public:
    explicit ElfFile(const std::string& path) {
        std::ifstream in(path, std::ios::binary | std::ios::ate);
        bytes_.resize(static_cast<std::size_t>(in.tellg()));
        in.seekg(0).read(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
    }
    [[nodiscard]] std::vector<Probe> probes() const {
        std::vector<Probe> found;
        const Elf64_Shdr notes = section(".note.stapsdt");
        for (std::uint64_t at = notes.sh_offset; at < notes.sh_offset + notes.sh_size;) {
            const auto head = read<Elf64_Nhdr>(at);
            const std::uint64_t described = at + sizeof head + aligned(head.n_namesz);
            found.push_back(probe_at(described));
            at = described + aligned(head.n_descsz);
        }
        return found;
    }

  private:
    template <class T>
    [[nodiscard]] T read(std::uint64_t at) const {
        T value{};
        if (at + sizeof value <= bytes_.size()) std::memcpy(&value, bytes_.data() + at, sizeof value);
        return value;
    }
    static std::uint64_t aligned(std::uint64_t bytes) { return (bytes + 3) / 4 * 4; }
    [[nodiscard]] Elf64_Shdr section(const std::string& name) const {
        const auto header = read<Elf64_Ehdr>(0);
        const auto nth = [&](unsigned n) { return read<Elf64_Shdr>(header.e_shoff + n * sizeof(Elf64_Shdr)); };
        const std::uint64_t names = nth(header.e_shstrndx).sh_offset;
        for (unsigned i = 0; i < header.e_shnum; ++i) {
            if (name == bytes_.data() + names + nth(i).sh_name) return nth(i);
        }
        return {};
    }
    /// Three addresses, the second that of .stapsdt.base when the note was written, then three texts.
    [[nodiscard]] Probe probe_at(std::uint64_t at) const {
        const auto moved = section(".stapsdt.base").sh_addr - read<std::uint64_t>(at + sizeof(std::uint64_t));
        const std::uint64_t address = read<std::uint64_t>(at) + moved;
        const char* text = bytes_.data() + at + 3 * sizeof(std::uint64_t);
        const auto next = [&] {
            const std::string here = text;
            text += here.size() + 1;
            return here;
        };
        const std::string provider = next();
        const std::string name = next();
        return {provider, name, next(), offset_of(address)};
    }
    [[nodiscard]] std::uint64_t offset_of(std::uint64_t address) const {
        const auto header = read<Elf64_Ehdr>(0);
        for (unsigned i = 0; i < header.e_phnum; ++i) {
            const auto part = read<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr));
            if (part.p_type == PT_LOAD && address - part.p_vaddr < part.p_filesz)
                return address - part.p_vaddr + part.p_offset;
        }
        return 0;
    }

    std::vector<char> bytes_;
};

/// Counts how often a place of a file is reached, by any thread. A counter for each CPU, and not one that threads
/// inherit: with those the kernel refuses a new thread now and then.
class Uprobe {
  public:
    Uprobe(const std::string& path, std::uint64_t file_offset) {
        perf_event_attr wanted{};
        wanted.size = sizeof wanted;
        std::ifstream("/sys/bus/event_source/devices/uprobe/type") >> wanted.type;
        if (wanted.type == 0) return;
        wanted.config1 = reinterpret_cast<std::uintptr_t>(path.c_str());
        wanted.config2 = file_offset;
        for (long cpu = 0; cpu < ::sysconf(_SC_NPROCESSORS_CONF); ++cpu)
            descriptors_.push_back(
                static_cast<int>(::syscall(SYS_perf_event_open, &wanted, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
    }
    Uprobe(Uprobe&& other) noexcept : descriptors_(std::exchange(other.descriptors_, {})) {}
    Uprobe& operator=(Uprobe&&) = delete;
    ~Uprobe() {
        for (const int descriptor : descriptors_) {
            if (descriptor >= 0) ::close(descriptor);
        }
    }
    /// Whether the kernel lets us.
    [[nodiscard]] bool is_set() const {
        return !descriptors_.empty() &&
               std::all_of(descriptors_.begin(), descriptors_.end(), [](int descriptor) { return descriptor >= 0; });
    }
    [[nodiscard]] std::uint64_t count() const {
        std::uint64_t sum = 0;
        for (const int descriptor : descriptors_) {
            std::uint64_t count = 0;
            if (::read(descriptor, &count, sizeof count) == sizeof count) sum += count;
        }
        return sum;
    }

  private:
    std::vector<int> descriptors_;
};

}  // namespace vmrpc::test
