#include "digest.hpp"

#include "failure.hpp"

#include <openssl/evp.h>

#include <algorithm>

namespace demo {

Summary digest(std::span<const std::byte> content) {
    Summary summary;
    unsigned written = 0;
    if (EVP_Digest(content.data(), content.size(), summary.sha256.data(), &written, EVP_sha256(), nullptr) != 1 ||
        written != summary.sha256.size())
        throw Failure("OpenSSL cannot compute SHA-256 here: look at its configuration (openssl.cnf)");
    summary.lines = static_cast<std::uint64_t>(std::count(content.begin(), content.end(), std::byte{'\n'}));
    return summary;
}

}  // namespace demo
