#include "qmp.hpp"

#include <nlohmann/json.hpp>

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

namespace vmrpc::vm {
namespace {

using nlohmann::json;

constexpr char kEnded[] = "QEMU has ended";

QmpReply failed(std::string why) {
    return {.result = {}, .error = std::move(why)};
}

}  // namespace

Qmp::Qmp(Descriptor socket) : socket_(std::move(socket)) {
    send(R"({"execute": "qmp_capabilities"})");
}

QmpReply Qmp::run(const std::string& command, const std::string& arguments, std::chrono::milliseconds limit) {
    json message{{"execute", command}};
    if (!arguments.empty()) message["arguments"] = json::parse(arguments, nullptr, false);
    if (!arguments.empty() && !message["arguments"].is_object()) return failed("no JSON object: " + arguments);
    const std::lock_guard lock{mutex_};
    message["id"] = ++last_id_;
    if (!send(message.dump())) return failed(kEnded);
    return receive_reply(last_id_, Clock::now() + limit);
}

bool Qmp::send(const std::string& line) {
    const auto text = line + "\n";
    return ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

bool Qmp::receive_line(std::string& line, Clock::time_point deadline) {
    std::array<char, 4096> buffer;
    for (;;) {
        if (const auto end = received_.find('\n'); end != std::string::npos) {
            line = received_.substr(0, end);
            received_.erase(0, end + 1);
            return true;
        }
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd socket{socket_.get(), POLLIN, 0};
        if (poll(&socket, 1, static_cast<int>(std::max<long>(0, left.count()))) <= 0) return false;
        const auto bytes = recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (bytes <= 0) return false;
        received_.append(buffer.data(), static_cast<std::size_t>(bytes));
    }
}

// Passes over what is not this command's: the greeting, events, and answers to commands that were given up.
QmpReply Qmp::receive_reply(int id, Clock::time_point deadline) {
    for (std::string line; receive_line(line, deadline);) {
        const auto message = json::parse(line, nullptr, false);
        if (!message.is_object() || message.value("id", 0) != id) continue;
        if (const auto result = message.find("return"); result != message.end()) return {result->dump(), {}};
        if (const auto error = message.find("error"); error != message.end())
            return failed(error->value("desc", error->dump()));
    }
    return failed(Clock::now() < deadline ? kEnded : "QEMU has not answered in time");
}

}  // namespace vmrpc::vm
