#include "kernel_modules.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

namespace vmrpc::vm {
namespace {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

std::map<std::string, fs::path> list_modules(const fs::path& folder) {
    std::map<std::string, fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator{folder}) {
        const auto file = entry.path().filename().string();
        if (const auto dot = file.find(".ko"); dot != std::string::npos)
            found[canonical_module_name(file.substr(0, dot))] = entry.path();
    }
    return found;
}

std::set<std::string> list_builtin(const fs::path& folder) {
    std::set<std::string> found;
    std::ifstream in{folder / "modules.builtin"};
    for (std::string line; std::getline(in, line);) found.insert(canonical_module_name(fs::path{line}.stem().string()));
    return found;
}

class Resolver {
  public:
    explicit Resolver(const fs::path& folder)
        : folder_(folder), files_(list_modules(folder)), builtin_(list_builtin(folder)) {}

    void want(const std::string& name) {
        if (builtin_.contains(name) || !seen_.insert(name).second) return;
        const auto file = files_.find(name);
        if (file == files_.end()) throw std::runtime_error("no kernel module '" + name + "' in " + folder_.string());
        if (file->second.extension() != ".ko")
            throw std::runtime_error("compressed kernel module " + file->second.string() + ": unpack it first");
        std::istringstream depends{module_info(read_file(file->second), "depends")};
        for (std::string other; std::getline(depends, other, ',');) want(canonical_module_name(other));
        ordered_.push_back({name, file->second});
    }

    std::vector<KernelModule> take() { return std::move(ordered_); }

  private:
    fs::path folder_;
    std::map<std::string, fs::path> files_;
    std::set<std::string> builtin_;
    std::set<std::string> seen_;
    std::vector<KernelModule> ordered_;
};

// Copies a T out of the file if it lies inside it; alignment is not given.
template <typename T>
bool load(std::string_view bytes, std::size_t offset, T& out) {
    if (offset > bytes.size() || bytes.size() - offset < sizeof out) return false;
    std::memcpy(&out, bytes.data() + offset, sizeof out);
    return true;
}

std::string_view section_bytes(std::string_view elf, const Elf64_Shdr& section) {
    if (section.sh_offset > elf.size()) return {};
    return elf.substr(section.sh_offset, section.sh_size);
}

std::string_view find_section(std::string_view elf, std::string_view name) {
    Elf64_Ehdr header{};
    Elf64_Shdr names{};
    if (!load(elf, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return {};
    const auto at = [&](std::size_t index) { return header.e_shoff + index * sizeof(Elf64_Shdr); };
    if (!load(elf, at(header.e_shstrndx), names)) return {};
    for (std::size_t i = 0; i < header.e_shnum; ++i) {
        Elf64_Shdr section{};
        if (!load(elf, at(i), section)) return {};
        const auto text = section_bytes(elf, names);
        if (section.sh_name < text.size() && text.substr(section.sh_name).starts_with(std::string{name} + '\0'))
            return section_bytes(elf, section);
    }
    return {};
}

}  // namespace

std::string canonical_module_name(std::string name) {
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

std::string module_info(std::string_view elf_bytes, std::string_view key) {
    auto rest = find_section(elf_bytes, ".modinfo");
    while (!rest.empty()) {
        const auto entry = rest.substr(0, rest.find('\0'));
        if (entry.size() > key.size() && entry.starts_with(key) && entry[key.size()] == '=')
            return std::string{entry.substr(key.size() + 1)};
        rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
    }
    return {};
}

std::vector<KernelModule> resolve_modules(const fs::path& folder, const std::vector<std::string>& wanted) {
    if (wanted.empty()) return {};
    Resolver resolver{folder};
    for (const auto& name : wanted) resolver.want(canonical_module_name(name));
    return resolver.take();
}

}  // namespace vmrpc::vm
