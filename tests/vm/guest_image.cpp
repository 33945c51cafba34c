#include "guest_image.hpp"

#include "guest_config.hpp"
#include "initramfs.hpp"
#include "kernel_modules.hpp"
#include "shared_libraries.hpp"

#include <cstdlib>
#include <map>
#include <stdexcept>

namespace vmrpc::vm {
namespace {

namespace fs = std::filesystem;

std::string name_of(const std::string& module) {
    return module.substr(0, module.find(' '));
}

std::string parameters_of(const std::string& module) {
    const auto space = module.find(' ');
    return space == std::string::npos ? "" : module.substr(space + 1);
}

std::vector<std::string> wanted_modules(const GuestOptions& options) {
    auto wanted = options.modules;
    if (options.network || !options.ports.empty() || !options.pmem.empty()) wanted.emplace_back("virtio_pci");
    if (options.network) wanted.emplace_back("virtio_net");
    if (!options.ports.empty()) wanted.emplace_back("virtio_console");
    // The drivers first, so that they are there when the device is found.
    if (!options.pmem.empty())
        for (const char* module : {"device_dax", "dax_pmem", "nd_pmem", "virtio_pmem"}) wanted.emplace_back(module);
    return wanted;
}

// The image and the configuration in it, which grow together.
class Builder {
  public:
    explicit Builder(const GuestOptions& options) : options_(options) {}

    int build() {
        image_.add_character_device("/dev/console", 5, 1);  // the kernel opens it for init before anything is mounted
        image_.add(VMRPC_GUEST_INIT, "/init");
        add_modules();
        for (const auto& file : options_.files) add_file(file);
        for (const auto& command : options_.commands) add_command(command);
        if (options_.network) config_.address = "10.0.2.15";
        for (const auto& port : options_.ports) config_.ports.push_back(port.name);
        config_.pmem_devices = options_.pmem.size();
        config_.environment = options_.environment;
        config_.keep_going = options_.keep_going;
        image_.add_bytes(kConfigPath, serialize(config_));
        return image_.finish();
    }

  private:
    void add_modules() {
        const auto wanted = wanted_modules(options_);
        std::vector<std::string> names;
        for (const auto& module : wanted) names.push_back(name_of(module));
        for (const auto& module : resolve_modules(kernel_folder(options_) / "modules", names)) {
            const auto path = "/modules/" + module.name + ".ko";
            image_.add(module.path, path);
            config_.modules.push_back({path, ""});
            for (const auto& entry : wanted)
                if (canonical_module_name(name_of(entry)) == module.name)
                    config_.modules.back().parameters = parameters_of(entry);
        }
    }

    void add_file(const GuestFile& file) {
        if (!fs::exists(file.host_path))
            throw std::runtime_error("no file " + file.host_path.string() + " for the guest");
        const auto absolute = fs::absolute(file.host_path).lexically_normal();
        image_.add(absolute, file.guest_path.empty() ? absolute.string() : file.guest_path);
        if (!fs::is_regular_file(absolute)) return;
        for (const auto& library : libraries_of(absolute)) add_library(library);
    }

    // All libraries lie in one folder, so two builds of one library cannot both be there.
    void add_library(const SharedLibrary& library) {
        const auto source = fs::canonical(library.host_path);
        const auto [known, is_new] = libraries_.try_emplace(library.guest_path, source);
        if (known->second != source)
            throw std::runtime_error("programs for one guest need both " + known->second.string() + " and " +
                                     source.string() + " as " + library.guest_path);
        if (is_new) image_.add(source, library.guest_path);
    }

    // A name that is no file here must be one of the files that the caller put into the guest.
    void add_command(Command command) {
        if (command.args.empty()) throw std::runtime_error("a command for the guest has no words");
        auto& program = command.args.front();
        if (program != kReboot && program != kPanic && !image_.contains(program)) {
            if (!fs::is_regular_file(program))
                throw std::runtime_error("no program '" + program + "', neither here nor among the guest's files");
            program = fs::absolute(program).lexically_normal().string();
            add_file({program, program});
        }
        config_.commands.push_back(std::move(command));
    }

    const GuestOptions& options_;
    Initramfs image_;
    GuestConfig config_;
    std::map<std::string, fs::path> libraries_;  // guest path to what is there
};

}  // namespace

fs::path kernel_folder(const GuestOptions& options) {
    if (!options.kernel_folder.empty()) return options.kernel_folder;
    const char* folder = std::getenv("VMRPC_VM_DIR");
    return fs::path{folder != nullptr ? folder : VMRPC_VM_DIR} / "cloud";
}

fs::path find_kernel(const GuestOptions& options) {
    const auto kernel = kernel_folder(options) / "vmlinux";
    if (!fs::exists(kernel))
        throw std::runtime_error("no guest kernel " + kernel.string() + ": run tests/vm/fetch_kernel.sh");
    return kernel;
}

int build_image(const GuestOptions& options) {
    return Builder{options}.build();
}

}  // namespace vmrpc::vm
