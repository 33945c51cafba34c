#include "call/function_table.hpp"

#include "call/cancel_call.hpp"
#include "call/pages_calls.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace vmrpc::call {
namespace {

vmrpc_status serve_resolve(void* user, void* const* arguments, void* result, char* /*error_text*/,
                           std::size_t /*error_bytes*/) {
    const auto& table = *static_cast<const FunctionTable*>(user);
    *static_cast<ResolveReply*>(result) = table.resolve(*static_cast<const ResolveRequest*>(arguments[0]));
    return VMRPC_OK;
}

vmrpc_status serve_ping(void* /*user*/, void* const* /*arguments*/, void* /*result*/, char* /*error_text*/,
                        std::size_t /*error_bytes*/) {
    return VMRPC_OK;
}

const Function& ping_function() {
    static const Function& made = *[] {
        const vmrpc_impl_function declaration{sizeof declaration, "vmrpc.ping", 0, 0, nullptr, {}, 0};
        return new Function(Function::from(declaration).value());
    }();
    return made;
}

constexpr std::uint32_t index_of(layout::ReservedFunction function) {
    return static_cast<std::uint32_t>(function);
}

const Function& report_function() {
    static const Function& made = *[] {
        const vmrpc_impl_function declaration{
            sizeof declaration, "vmrpc.report", 0, 0, nullptr, {VMRPC_IMPL_BLOCK, 0, sizeof(char), alignof(char)}, 0};
        return new Function(Function::from(declaration).value());
    }();
    return made;
}

}  // namespace

FunctionTable::FunctionTable(Of side) : entries_(layout::kReservedFunctions) {
    entries_[index_of(layout::ReservedFunction::kResolve)] = {&resolve_function(), serve_resolve, this};
    entries_[index_of(layout::ReservedFunction::kPing)] = {&ping_function(), serve_ping};
    if (side == Of::kServer) {
        entries_[index_of(layout::ReservedFunction::kCommit)] = {&commit_function(), serve_commit};
        entries_[index_of(layout::ReservedFunction::kTrim)] = {&trim_function(), serve_trim};
        entries_[index_of(layout::ReservedFunction::kCancel)] = {&cancel_function(), serve_cancel};
    }
    if (side == Of::kServer) counters_.push_back(std::make_unique<FunctionCounters>());
    for (Entry& entry : entries_) {
        entry.counters = counters_.empty() ? nullptr : counters_.front().get();
        entry.index = static_cast<std::uint32_t>(&entry - entries_.data());
    }
}

FunctionTable::~FunctionTable() {
    for (const Entry& entry : entries_) {
        if (entry.release != nullptr) entry.release(entry.user);
    }
}

base::Status FunctionTable::add(const Entry& entry, const Execution& execution) {
    const std::string& signature = entry.function->signature();
    if (has(*entry.function))
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{} was added before: each function is served once", signature));
    by_fingerprint_.emplace(fingerprint(signature), static_cast<std::uint32_t>(entries_.size()));
    Entry& added = entries_.emplace_back(entry);
    added.index = static_cast<std::uint32_t>(entries_.size() - 1);
    added.is_plain = added.function->is_plain() && !execution.is_pooled;  // the short way executes it at once
    added.sizes = added.function->plain_sizes();
    if (!counters_.empty()) added.counters = counters_.emplace_back(std::make_unique<FunctionCounters>()).get();
    if (execution.is_pooled)
        added.pooled =
            pooled_
                .emplace_back(std::make_unique<PooledFunction>(PooledFunction{
                    execution.is_ordered,
                    execution.most_running == 0 ? std::numeric_limits<std::uint32_t>::max() : execution.most_running}))
                .get();
    return {};
}

bool FunctionTable::has(const Function& function) const {
    return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
        return entry.function != nullptr && entry.function->signature() == function.signature();
    });
}

base::Result<const FunctionTable::Entry*> FunctionTable::find(const layout::RequestBody& request) const {
    if (request.function >= entries_.size() || entries_[request.function].function == nullptr)
        return base::fail(VMRPC_UNKNOWN_FUNCTION,
                          fmt::format("no function has index {}: resolve it again", request.function));
    const Entry& entry = entries_[request.function];
    const Function& function = *entry.function;
    if (request.frame_bytes != function.request_bytes() || request.result_bytes != function.result_bytes())
        return base::fail(
            VMRPC_SIGNATURE_MISMATCH,
            fmt::format("{} takes frames of {} and {} bytes; {} and {} came", function.signature(),
                        function.request_bytes(), function.result_bytes(), request.frame_bytes, request.result_bytes));
    return &entry;
}

void FunctionTable::add_report(vmrpc_impl_handler handler, void* user) {
    constexpr std::uint32_t kIndex = index_of(layout::ReservedFunction::kReport);
    entries_[kIndex].function = &report_function();
    entries_[kIndex].handler = handler;
    entries_[kIndex].user = user;
    by_fingerprint_.emplace(fingerprint(report_function().signature()), kIndex);
}

ResolveReply FunctionTable::resolve(const ResolveRequest& request) const {
    ResolveReply reply{};
    const std::string_view signature = get_signature(request);
    const auto [first, last] = by_fingerprint_.equal_range(request.fingerprint);
    for (auto candidate = first; candidate != last; ++candidate) {
        if (entries_[candidate->second].function->signature() != signature) continue;
        reply.status = VMRPC_OK;
        reply.index = candidate->second;
        return reply;
    }
    const auto namesake = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
        return entry.function != nullptr && entry.function->name() == name_of(signature);
    });
    reply.status = namesake == entries_.end() ? VMRPC_UNKNOWN_FUNCTION : VMRPC_SIGNATURE_MISMATCH;
    if (namesake != entries_.end()) put_signature(reply, namesake->function->signature());
    return reply;
}

}  // namespace vmrpc::call
