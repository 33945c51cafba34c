// Finds kernel modules by name and orders them so that each comes after those it needs.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace vmrpc::vm {

struct KernelModule {
    std::string name;  // with '_' where the file's name has '-'
    std::filesystem::path path;
};

// The modules wanted and all that they depend on, in load order. A name that is built into the kernel adds nothing.
// Reads the dependencies from the modules themselves (no depmod was ever run on `folder`).
// Throws std::runtime_error for a name that `folder` does not have and for a compressed module.
std::vector<KernelModule> resolve_modules(const std::filesystem::path& folder, const std::vector<std::string>& wanted);

// Kernel modules are named with "-" and "_" alike; this is the form with "_" only.
std::string canonical_module_name(std::string name);

// The value of the first `key=` string in an ELF module's .modinfo section; empty if there is none.
std::string module_info(std::string_view elf_bytes, std::string_view key);

}  // namespace vmrpc::vm
