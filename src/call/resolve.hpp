// Asking the server for a function's index: an ordinary call of a reserved function.
#pragma once

#include "call/function.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace vmrpc::call {

struct ResolveRequest {
    std::uint64_t fingerprint;
    std::uint32_t reserved;
    std::uint32_t signature_bytes;
    std::array<char, kMaxSignatureBytes> signature;
};

struct ResolveReply {
    std::uint32_t status;  // VMRPC_OK, VMRPC_UNKNOWN_FUNCTION, VMRPC_SIGNATURE_MISMATCH
    std::uint32_t index;
    std::uint32_t signature_bytes;  // of the server's function, on a mismatch
    std::array<char, kMaxSignatureBytes> signature;
};

/// The reserved function's own frames.
const Function& resolve_function();

/// Puts text into a request or reply, cut to its room; reads it back, with a count that may be anything.
template <class Message>
void put_signature(Message& message, std::string_view signature) {
    message.signature_bytes = static_cast<std::uint32_t>(signature.copy(message.signature.data(), kMaxSignatureBytes));
}
template <class Message>
std::string_view get_signature(const Message& message) {
    return std::string_view(message.signature.data(), kMaxSignatureBytes).substr(0, message.signature_bytes);
}

}  // namespace vmrpc::call
