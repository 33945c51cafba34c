#include "vmrpc/vm/libvirt_xml.hpp"

#include "transport/vm/protocol.hpp"

#include <fmt/format.h>

#include <string_view>

namespace tool {
namespace {

constexpr std::uint64_t kKib = 1024;
/// Where --ram does not say more: enough for most, and within every host's physical addresses.
constexpr std::uint64_t kMostRamMib = std::uint64_t{64} * 1024;

std::string escaped(std::string_view text) {
    std::string safe;
    for (const char c : text) {
        switch (c) {
            case '&':
                safe += "&amp;";
                break;
            case '<':
                safe += "&lt;";
                break;
            case '>':
                safe += "&gt;";
                break;
            case '\'':
                safe += "&apos;";
                break;
            default:
                safe += c;
        }
    }
    return safe;
}

/// What may stand between the marks of a comment: two hyphens may not.
std::string in_comment(std::string_view text) {
    std::string safe;
    for (const char c : text) safe += c == '-' && !safe.empty() && safe.back() == '-' ? '_' : c;
    return safe;
}

std::string max_memory(const VmSetup& setup) {
    if (setup.memory != VmMemory::kDax) return "";
    const std::uint64_t ram_mib = setup.ram_bytes ? *setup.ram_bytes / kMib : kMostRamMib;
    return fmt::format(
        "  <!-- Room for the memory below, beside at most {} MiB of RAM (the option ram says how much). An older "
        "libvirt\n"
        "       also wants <numa> with one <cell> in <cpu>. -->\n"
        "  <maxMemory slots='2' unit='MiB'>{}</maxMemory>\n",
        ram_mib, ram_mib + setup.room_mib());
}

std::string shared_ram(const VmSetup& setup) {
    if (!setup.needs_shared_ram()) return "";
    if (setup.memory == VmMemory::kRam)
        return fmt::format(
            "  <!-- RAM that is a file, of {} MiB as <memory> has to say. libvirt makes it in the folder that "
            "memory_backing_dir\n"
            "       in qemu.conf names (put that on a tmpfs), and chooses its name; so, once the domain runs, instead "
            "of "
            "the\n"
            "       file that is there: ln -sf MEMORY_BACKING_DIR/ID-NAME/ram-node0 {} -->\n"
            "  <memoryBacking>\n    <source type='file'/>\n    <access mode='shared'/>\n  </memoryBacking>\n",
            *setup.ram_bytes / kMib, in_comment(setup.ram_path));
    return "  <!-- RAM that the service can map, as vhost-user needs it -->\n"
           "  <memoryBacking>\n    <source type='memfd'/>\n    <access mode='shared'/>\n  </memoryBacking>\n";
}

std::string machine(const VmSetup& setup) {
    std::string xml =
        "  <os>\n    <!-- q35 is a must; a versioned pc-q35-… is one -->\n"
        "    <type arch='x86_64' machine='q35'>hvm</type>\n  </os>\n";
    if (setup.has_doorbell())
        xml += "  <features>\n    <!-- for the <iommu> below -->\n    <ioapic driver='qemu'/>\n  </features>\n";
    return xml;
}

std::string memory(const VmSetup& setup) {
    if (setup.memory != VmMemory::kDax) return "";
    const bool is_nvdimm = setup.device == DaxDevice::kNvdimm;
    return fmt::format(
        "    <!-- The memory: all of the file, and no label. -->\n"
        "    <memory model='{}' access='shared'>\n"
        "      <source>\n        <path>{}</path>\n      </source>\n"
        "      <target>\n        <size unit='KiB'>{}</size>\n{}      </target>\n"
        "    </memory>\n",
        is_nvdimm ? "nvdimm" : "virtio-pmem", escaped(setup.memory_path), setup.file_bytes / kKib,
        is_nvdimm ? "        <node>0</node>\n" : "");
}

std::string doorbell(const VmSetup& setup) {
    if (!setup.has_doorbell()) return "";
    return fmt::format(
        "    <!-- The bell{}: the service has made this socket before the domain starts. -->\n"
        "    <shmem name='vmrpc-{}' role='peer'>\n"
        "      <model type='ivshmem-doorbell'/>\n"
        "      <server path='{}'/>\n"
        "      <msi vectors='{}' ioeventfd='on'/>\n"
        "    </shmem>\n"
        "    <!-- With it the guest is interrupted when it is rung; without it (and <ioapic>) it looks. -->\n"
        "    <iommu model='intel'>\n      <driver intremap='on'/>\n    </iommu>\n",
        setup.memory == VmMemory::kBar ? " and the memory" : "", setup.name, escaped(setup.doorbell_path()),
        setup.vectors());
}

std::string vsock(const VmSetup& setup) {
    if (setup.ring != VmRing::kVsock || setup.vsock_by != VsockBy::kKernel) return "";
    const std::string cid =
        setup.cid ? fmt::format("<cid auto='no' address='{}'/>", *setup.cid) : std::string("<cid auto='yes'/>");
    return fmt::format("    <vsock model='virtio'>\n      {}\n    </vsock>\n", cid);
}

std::string serial(const VmSetup& setup) {
    if (setup.ring != VmRing::kSerial) return "";
    std::string xml = "    <!-- A port for each process, all of them to one socket of the service's. -->\n";
    for (unsigned i = 0; i < setup.processes; ++i)
        xml += fmt::format(
            "    <channel type='unix'>\n"
            "      <source mode='connect' path='{}'>\n        <reconnect enabled='yes' timeout='1'/>\n      </source>\n"
            "      <target type='virtio' name='{}{}'/>\n"
            "    </channel>\n",
            escaped(setup.path_of("serial")), vmrpc::transport::vm::kPortPrefix, i);
    return xml;
}

std::string command_line(const VmSetup& setup, std::string_view why, const char* kind, std::string_view device) {
    const std::string id = fmt::format("vmrpc-{}-{}", setup.name, kind);
    std::string xml = fmt::format(
        "  <!-- {} Goes last, and needs the xmlns:qemu of <domain> above. -->\n  <qemu:commandline>\n"
        "    <qemu:arg value='-chardev'/>\n    <qemu:arg value='socket,id={},path={}{}'/>\n",
        why, id, escaped(setup.path_of(kind)), device.empty() ? ",reconnect=1" : "");
    if (!device.empty())
        xml += fmt::format("    <qemu:arg value='-device'/>\n    <qemu:arg value='{},chardev={}'/>\n", device, id);
    return xml + "  </qemu:commandline>\n";
}

std::string passed_through(const VmSetup& setup) {
    if (setup.needs_shared_ram())
        return command_line(setup, "libvirt has no element for a vsock that the service serves.", "vsock",
                            "vhost-user-vsock-pci");
    if (setup.ring == VmRing::kPoll && !setup.has_doorbell())
        return command_line(setup, "By its end the service learns of the VM's.", "poll", "");
    return "";
}

}  // namespace

std::string libvirt_xml(const VmSetup& setup) {
    const std::string through = passed_through(setup);
    return fmt::format(
               "<!-- VM {} of the service in {}: add each part to the same element of the domain (virsh edit). -->\n"
               "<domain type='kvm'{}>\n",
               setup.name, in_comment(setup.folder),
               through.empty() ? "" : " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'") +
           max_memory(setup) + shared_ram(setup) + machine(setup) + "  <devices>\n" + memory(setup) + doorbell(setup) +
           vsock(setup) + serial(setup) + "  </devices>\n" + through + "</domain>\n";
}

}  // namespace tool
