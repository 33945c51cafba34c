#include "transport/vm/address.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

constexpr std::array<std::pair<std::string_view, Memory>, 4> kMemories{
    {{"best", Memory::kBest}, {"dax", Memory::kDax}, {"bar", Memory::kBar}, {"ram", Memory::kRam}}};
constexpr std::array<std::pair<std::string_view, Ring>, 5> kRings{{{"best", Ring::kBest},
                                                                   {"doorbell", Ring::kDoorbell},
                                                                   {"vsock", Ring::kVsock},
                                                                   {"serial", Ring::kSerial},
                                                                   {"poll", Ring::kPoll}}};

template <class Choice, std::size_t count>
base::Status choose(std::string_view key, std::string_view word,
                    const std::array<std::pair<std::string_view, Choice>, count>& known, Choice& choice) {
    std::string names;
    for (const auto& [name, value] : known) {
        if (name == word) {
            choice = value;
            return {};
        }
        names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
    }
    return base::fail(VMRPC_BAD_ADDRESS, fmt::format("{}={} is unknown; there are: {}", key, word, names));
}

base::Status read_count(std::string_view word, std::uint32_t& count) {
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), count);
    if (error == std::errc() && end == word.data() + word.size() && count >= 1 && count <= kMostProcesses) return {};
    return base::fail(VMRPC_BAD_ADDRESS, fmt::format("processes={} is no number from 1 to {}", word, kMostProcesses));
}

base::Status read_option(std::string_view option, Address& address) {
    const std::size_t sign = option.find('=');
    const std::string_view key = option.substr(0, sign);
    const std::string_view word = sign == std::string_view::npos ? "" : option.substr(sign + 1);
    if (key == "memory") return choose(key, word, kMemories, address.memory);
    if (key == "ring") return choose(key, word, kRings, address.ring);
    if (key == "processes") return read_count(word, address.processes);
    return base::fail(VMRPC_BAD_ADDRESS,
                      fmt::format("\"{}\" is unknown behind \"?\"; there are: memory=, ring=, processes=", option));
}

}  // namespace

base::Result<Address> parse_address(const std::string& text) {
    const std::size_t mark = text.find('?');
    Address address{.place = text.substr(0, mark)};
    std::string_view rest = mark == std::string::npos ? std::string_view() : std::string_view(text).substr(mark + 1);
    while (!rest.empty()) {
        const std::size_t end = rest.find('&');
        if (const auto read = read_option(rest.substr(0, end), address); !read)
            return base::fail(read.error().status, fmt::format("vm:{}: {}", text, read.error().text));
        rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    }
    if (address.memory == Memory::kRam && address.ring != Ring::kBest && address.ring != Ring::kVsock)
        return base::fail(
            VMRPC_BAD_ADDRESS,
            fmt::format("vm:{}: with memory=ram there is a stream to the service, which rings: ring=vsock, "
                        "or none said",
                        text));
    return address;
}

std::string_view name_of(Memory memory) {
    return kMemories[static_cast<std::size_t>(memory)].first;
}

std::string_view name_of(Ring ring) {
    return kRings[static_cast<std::size_t>(ring)].first;
}

}  // namespace vmrpc::transport::vm
