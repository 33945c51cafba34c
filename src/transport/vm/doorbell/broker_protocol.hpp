// How processes of a guest get at the doorbell and the interrupts of its ivshmem device: from a broker, the program
// vmrpc-doorbell, which holds the device.
//
// Over an abstract Unix socket, SOCK_SEQPACKET, one request and one answer after the other:
//
//     kOpen, with a descriptor as proof or none     what the device is, with its VFIO descriptor
//     kVector, a vector's number                    that vector's eventfd, the same for whoever asks
//
// An answer with another status than VMRPC_OK has its text. The first request is kOpen; whoever sends what is none of
// this is disconnected. The broker sends nothing that it was not asked for: a socket that has ended means that it is
// gone.
//
// Proof: a client may use the device if it is root, or the broker's own user, or has a descriptor, open for reading
// and writing, of the memory that the device's interrupts tell of: a DAX device (/dev/daxN.M), or the device's
// resource2 in sysfs. /dev/vfio/N is none: nobody but the broker can open it.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vmrpc::transport::vm {

inline constexpr const char* kBrokerProgram = "vmrpc-doorbell";
/// The program's option that makes it close kReadyFd as soon as it listens, be silent, and tell its clients if it
/// fails.
inline constexpr const char* kReadyOption = "--ready";
inline constexpr int kReadyFd = 3;

inline constexpr std::uint32_t kBrokerMagic = 0x6c6c6562;  // "bell"
inline constexpr std::uint16_t kBrokerVersion = 1;

enum class BrokerRequestKind : std::uint16_t { kOpen = 1, kVector = 2 };

struct BrokerRequest {
    std::uint32_t magic = kBrokerMagic;
    std::uint16_t version = kBrokerVersion;
    std::uint16_t kind = 0;
    std::uint32_t vector = 0;    // of kVector
    std::uint32_t reserved = 0;  // must be 0
};
static_assert(sizeof(BrokerRequest) == 16);

struct BrokerAnswer {
    std::uint32_t magic = kBrokerMagic;
    std::uint16_t version = kBrokerVersion;
    std::uint16_t kind = 0;              // that of the request
    std::uint32_t status = 0;            // vmrpc_status
    std::uint32_t vectors = 0;           // of kOpen: how many there are; of kVector: which one this is
    std::uint64_t registers_offset = 0;  // BAR 0, in the VFIO descriptor
    std::uint64_t registers_bytes = 0;   //
    std::uint64_t memory_offset = 0;     // BAR 2
    std::uint64_t memory_bytes = 0;      //
    std::array<char, 464> text{};        // ends with NUL
};
static_assert(sizeof(BrokerAnswer) == 512);

/// "0000:00:05.0", in lower case, so that a device has one name.
constexpr bool is_pci_address(std::string_view text) {
    constexpr std::string_view kPattern = "hhhh:hh:hh.o";
    if (text.size() != kPattern.size()) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        const bool is_octal = c >= '0' && c <= '7';
        const bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (kPattern[i] == 'h' ? !is_hex : kPattern[i] == 'o' ? !is_octal : c != kPattern[i]) return false;
    }
    return true;
}

/// A socket's abstract name: in no folder, gone with whoever bound it.
struct BrokerName {
    sockaddr_un address{};
    socklen_t bytes = 0;
};

/// Requires a PCI address.
inline BrokerName broker_name(const std::string& pci_address) {
    const std::string name = std::string(kBrokerProgram) + "-" + pci_address;
    BrokerName result;
    result.address.sun_family = AF_UNIX;
    name.copy(result.address.sun_path + 1, sizeof result.address.sun_path - 1);
    result.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    return result;
}

}  // namespace vmrpc::transport::vm
