#include "vmrpc/doctor/command.hpp"

#include "vmrpc/doctor/diagnosis.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <memory>

namespace tool {
namespace {

struct Question {
    std::string address;
    std::string side;
    bool json = false;
};

Diagnosis answer(const Question& question) {
    std::optional<Side> side;
    if (!question.side.empty()) side = question.side == "guest" ? Side::kGuest : Side::kHost;
    return diagnose(Machine::here(), question.address, side);
}

std::string as_text(const Question& question, const Diagnosis& diagnosis) {
    const char* side = diagnosis.side == Side::kGuest ? "guest" : "host";
    if (question.json)
        return Report{{"side", side}, {"why", diagnosis.why}, {"findings", diagnosis.findings.json()}}.dump(2) + '\n';
    return fmt::format("seen as a {}: {} (--as says otherwise)\n\n", side, diagnosis.why) + diagnosis.findings.text();
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_code) {
    CLI::App& command =
        *app.add_subcommand("doctor", "what this machine, host or guest, lacks for connections with VMs");
    const auto question = std::make_shared<Question>();
    command.add_option(
        "address", question->address,
        "on the host, vm:FOLDER?… : look at that service's folder as well; in a guest, vm: or vm:DEVICE");
    command.add_option("--as", question->side, "host or guest, where it guesses wrong")
        ->check(CLI::IsMember({"host", "guest"}));
    command.add_flag("--json", question->json, "as JSON");
    command.footer("Exit status: 1 if a line says error.");
    command.callback([question, &exit_code] {
        const Diagnosis diagnosis = answer(*question);
        const std::string text = as_text(*question, diagnosis);
        std::fwrite(text.data(), 1, text.size(), stdout);
        exit_code = diagnosis.findings.has_error() ? 1 : 0;
    });
}

}  // namespace tool
