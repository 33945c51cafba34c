#include "cpp_api_server.hpp"

#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace cpp_api {
namespace {

Seen seen(const void* data, std::uint64_t sum) {
    return {reinterpret_cast<std::uintptr_t>(data), sum, vmrpc_impl_to_wire(nullptr, data) != 0};
}
template <class Bytes>
Seen seen_bytes(const Bytes& bytes) {
    std::uint64_t sum = 0;
    for (const auto byte : bytes) sum += static_cast<std::uint8_t>(byte);
    return seen(bytes.data(), sum);
}
Seen seen_pairs(std::span<const Pair> pairs) {
    std::uint64_t sum = 0;
    for (const Pair& pair : pairs) sum += static_cast<std::uint64_t>(pair.left);
    return seen(pairs.data(), sum);
}

vmrpc::Array<std::uint32_t> make_squares(std::uint64_t count) {
    auto made = vmrpc::make_array<std::uint32_t>(count);
    if (!made) throw std::runtime_error(made.error().message());
    for (std::uint32_t i = 0; i < count; ++i) (*made)[i] = i * i;
    return std::move(*made);
}

}  // namespace

// These two are added without a callable: they serve under their own names.
std::int64_t add(std::int32_t left, std::int64_t right) {
    return left + right;
}
double mean(std::span<const double> values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Server::Server(vmrpc::ServeOptions options) : server_(folder_.address(), std::move(options)) {
    add_values();
    add_spans();
    add_heap();
    add_others();
    EXPECT_TRUE(server_.status()) << server_.status().error().message();
    thread_ = std::thread([this] {
        const auto ran = server_.run();
        EXPECT_TRUE(ran) << ran.error().message();
    });
}

void Server::wait() {
    ++waiting_;
    is_released_.wait(false);
}

void Server::add_values() {
    server_.add<add>();
    server_.add<mirror>([](const Pair& pair) { return Pair{-pair.left, -pair.right}; });
    server_.add<swap>([](std::int32_t& left, std::int32_t& right) { std::swap(left, right); });
    server_.add<negate>([](bool value) { return !value; });
    server_.add<kRenamed>([](std::int32_t value) { return 2 * value; });
    server_.add<kSchema2>([] { return 2; });
}

void Server::add_spans() {
    server_.add<mean>();
    server_.add<increment>([](std::span<std::int32_t> values) {
        for (std::int32_t& value : values) ++value;
    });
    server_.add<length>([](std::string_view text) { return text.size(); });
    server_.add<look>([](std::span<const std::uint8_t> bytes) { return seen_bytes(bytes); });
    server_.add<look_writable>([](std::span<std::uint8_t> bytes) {
        const Seen was = seen_bytes(bytes);
        for (std::uint8_t& byte : bytes) byte = 7;
        return was;
    });
    server_.add<look_at_text>([](std::string_view text) { return seen_bytes(text); });
    server_.add<look_at_pairs>([](std::span<const Pair> pairs) { return seen_pairs(pairs); });
    server_.add<scale_pairs>([](std::span<Pair> pairs, std::int32_t by) {
        for (Pair& pair : pairs) pair.left *= by;
    });
    server_.add<look_in_place>([](vmrpc::InPlace<std::span<const Pair>> pairs) { return seen_pairs(pairs); });
    server_.add<look_at_text_in_place>([](vmrpc::InPlace<std::string_view> text) { return seen_bytes(text); });
}

void Server::add_heap() {
    server_.add<sum_list>([](vmrpc::Ptr<Node> first) {
        std::int64_t sum = 0;
        for (const Node* node = first.get(); node != nullptr; node = node->next.get()) sum += node->value;
        return sum;
    });
    server_.add<is_null>([](vmrpc::Ptr<Node> node) { return !node && node.get() == nullptr; });
    server_.add<same>([](vmrpc::Ptr<Node> node) { return node; });
    server_.add<bump>([](Pair* pair) { return pair == nullptr ? -1 : ++pair->left; });
    server_.add<squares>([](std::uint64_t count) { return make_squares(count); });
    server_.add<squares_after_release>([this](std::uint64_t count, std::span<const std::uint8_t>) {
        wait();
        return make_squares(count);
    });
}

void Server::add_others() {
    server_.add<fail_with>([](std::string_view text) { throw std::runtime_error(std::string(text)); });
    server_.add<fail_oddly>([] { throw 42; });
    server_.add<wait_for_release>([this] { wait(); });
    server_.add<facts>([] {
        const vmrpc::Caller caller = vmrpc::caller();
        return Facts{
            caller.connection_number(), caller.uid(), caller.gid(), caller.pid(), caller.vm(), caller.trusted()};
    });
    server_.add<count_calls>([] {
        std::any& state = vmrpc::caller().state();
        if (!state.has_value()) state = std::int32_t{0};
        return ++std::any_cast<std::int32_t&>(state);
    });
}

}  // namespace cpp_api
