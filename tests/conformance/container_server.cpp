#include "conformance/container_functions.hpp"
#include "conformance/server.hpp"

#include <vmrpc/view.hpp>

#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace conformance {
namespace {

template <class T>
T value_of(vmrpc::Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message());
    return *std::move(result);
}
template <class T>
vmrpc::Owned<T> made() {
    return value_of(vmrpc::caller().heap().make<T>());
}

std::int64_t sum_of(const auto& numbers) {
    return std::accumulate(numbers.begin(), numbers.end(), std::int64_t{0});
}
std::int64_t length_of(const auto& text) {
    return static_cast<std::int64_t>(text.size());
}

std::int64_t serve_grow_numbers(vmrpc::Ptr<Numbers> numbers) {
    const std::int64_t sum = sum_of(*numbers);
    numbers->insert(numbers->end(), 1'000, 1);
    return sum;
}

void serve_grow_words(vmrpc::Ptr<Words> words) {
    words->emplace_back("");
    for (auto& word : *words) word += "server";
}

void serve_group(vmrpc::Ptr<Words> words, vmrpc::Ptr<Groups> groups) {
    std::int64_t position = 0;
    for (const auto& word : *words) (*groups)[word].push_back(position++);
    groups->erase("erase me");
}

void serve_count(vmrpc::Ptr<Words> words, vmrpc::Ptr<Counts> counts) {
    for (const auto& word : *words) ++(*counts)[word];
}

void serve_take_groups(vmrpc::Ptr<Groups> groups) {
    vmrpc::caller().heap().adopt(groups).reset();
}

std::int64_t serve_sum_buffered(
    vmrpc::Ptr<vmrpc::BufferMap<vmrpc::BufferString, vmrpc::BufferVector<std::int64_t>>> groups) {
    std::int64_t sum = 0;
    for (const auto& [word, numbers] : *groups) sum += length_of(word) + sum_of(numbers);
    return sum;
}

vmrpc::Owned<Groups> serve_make_groups(std::int64_t count) {
    auto groups = made<Groups>();
    for (std::int64_t i = 0; i < count; ++i)
        (*groups)[("a group whose name is long, number " + std::to_string(i)).c_str()].assign(3, i);
    return groups;
}

vmrpc::Owned<Counts> serve_make_counts(std::int64_t count) {
    auto counts = made<Counts>();
    for (std::int64_t i = 0; i < count; ++i) (*counts)[vmrpc::String(std::to_string(i).c_str())] = i;
    return counts;
}

Looked serve_visit_counts(vmrpc::Ptr<Counts> counts) {
    Looked looked{0, 0};
    value_of(vmrpc::visit(counts, [&](const std::string& word, std::int64_t count) {
                 looked.sum += length_of(word) + count;
             }).map([] { return 0; }));
    return looked;
}

Looked serve_visit_groups(vmrpc::Ptr<Groups> groups) {
    Looked looked{0, 0};
    value_of(vmrpc::visit(groups, [&](const std::string& word, const std::vector<std::int64_t>& numbers) {
                 looked.sum += length_of(word) + sum_of(numbers);
             }).map([] { return 0; }));
    return looked;
}

Looked serve_copy_groups(vmrpc::Ptr<Groups> groups) {
    Looked looked{0, 0};
    for (const auto& [word, numbers] : value_of(vmrpc::copy_out(groups)))
        looked.sum += length_of(word) + sum_of(numbers);
    return looked;
}

Looked serve_copy_words(vmrpc::Ptr<Words> words) {
    Looked looked{0, 0};
    for (const std::string& word : value_of(vmrpc::copy_out(words))) looked.sum += length_of(word);
    return looked;
}

void add_makers(vmrpc::Server& server) {
    server.add<make_numbers>([](std::int64_t count) {
        auto numbers = made<Numbers>();
        for (std::int64_t i = 0; i < count; ++i) numbers->push_back(i);
        return numbers;
    });
    server.add<make_text>([](std::int64_t length) {
        auto text = made<vmrpc::String>();
        text->assign(static_cast<std::size_t>(length), 'x');
        return text;
    });
    server.add<make_groups>(serve_make_groups);
    server.add<make_counts>(serve_make_counts);
}

void add_views(vmrpc::Server& server) {
    server.add<view_numbers>([](vmrpc::Ptr<Numbers> numbers) {
        const auto seen = value_of(vmrpc::view(numbers));
        return Looked{sum_of(seen), seen.is_copy() ? 0 : 1};
    });
    server.add<view_text>([](vmrpc::Ptr<vmrpc::String> text) {
        const auto seen = value_of(vmrpc::view(text));
        return Looked{length_of(seen.text()), seen.is_copy() ? 0 : 1};
    });
    server.add<copy_groups>(serve_copy_groups);
    server.add<visit_groups>(serve_visit_groups);
    server.add<visit_counts>(serve_visit_counts);
    server.add<copy_words>(serve_copy_words);
}

}  // namespace

void add_containers(vmrpc::Server& server) {
    server.add<grow_numbers>(serve_grow_numbers);
    server.add<grow_text>([](vmrpc::Ptr<vmrpc::String> text) {
        for (int i = 0; i < 100; ++i) *text += "server ";
    });
    server.add<grow_words>(serve_grow_words);
    server.add<group>(serve_group);
    server.add<count>(serve_count);
    server.add<take_groups>(serve_take_groups);
    server.add<sum_buffered>(serve_sum_buffered);
    add_makers(server);
    add_views(server);
}

}  // namespace conformance
