#include "guest_config.hpp"

#include <cstdlib>

namespace vmrpc::vm {
namespace {

// The format is a list of NUL-terminated strings, because an argument may hold anything but NUL; lists carry their
// length.
class Writer {
  public:
    void add(std::string_view text) { text_.append(text).push_back('\0'); }
    void add(std::size_t number) { add(std::to_string(number)); }
    void add(const std::vector<std::string>& list) {
        add(list.size());
        for (const auto& entry : list) add(entry);
    }
    std::string take() { return std::move(text_); }

  private:
    std::string text_;
};

class Reader {
  public:
    explicit Reader(std::string_view text) : rest_(text) {}

    std::string text() {
        const auto end = rest_.find('\0');
        if (end == std::string_view::npos) {
            ok_ = false;
            return {};
        }
        std::string result{rest_.substr(0, end)};
        rest_.remove_prefix(end + 1);
        return result;
    }

    // Never more than there are strings left, so that a damaged file cannot make a loop long.
    std::size_t number() {
        const auto value = static_cast<std::size_t>(std::strtoull(text().c_str(), nullptr, 10));
        if (value > rest_.size()) ok_ = false;
        return ok_ ? value : 0;
    }

    std::vector<std::string> list() {
        std::vector<std::string> result(number());
        for (auto& entry : result) entry = text();
        return result;
    }

    bool complete() const { return ok_ && rest_.empty(); }

  private:
    std::string_view rest_;
    bool ok_ = true;
};

}  // namespace

std::string serialize(const GuestConfig& config) {
    Writer out;
    out.add(config.modules.size());
    for (const auto& module : config.modules) {
        out.add(module.path);
        out.add(module.parameters);
    }
    out.add(config.address);
    out.add(config.ports);
    out.add(config.pmem_devices);
    out.add(config.environment);
    out.add(config.commands.size());
    for (const auto& command : config.commands) {
        out.add(command.args);
        out.add(command.background ? 1 : 0);
    }
    out.add(config.keep_going ? 1 : 0);
    out.add("end");
    return out.take();
}

bool parse(std::string_view text, GuestConfig& config) {
    Reader in{text};
    config.modules.resize(in.number());
    for (auto& module : config.modules) {
        module.path = in.text();
        module.parameters = in.text();
    }
    config.address = in.text();
    config.ports = in.list();
    config.pmem_devices = in.number();
    config.environment = in.list();
    config.commands.resize(in.number());
    for (auto& command : config.commands) {
        command.args = in.list();
        command.background = in.number() != 0;
    }
    config.keep_going = in.number() != 0;
    return in.text() == "end" && in.complete();
}

}  // namespace vmrpc::vm
