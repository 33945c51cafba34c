// Functions that take and return containers in the heap.
#pragma once

#include <vmrpc/buffer.hpp>
#include <vmrpc/containers.hpp>
#include <vmrpc/vmrpc.hpp>

#include <cstdint>

namespace conformance {

using Numbers = vmrpc::Vector<std::int64_t>;
using Words = vmrpc::Vector<vmrpc::String>;
using Groups = vmrpc::Map<vmrpc::String, Numbers>;
using Counts = vmrpc::UnorderedMap<vmrpc::String, std::int64_t>;

/// What the server made of a container: a sum over it, and whether it looked at the client's own memory for that.
struct Looked {
    std::int64_t sum;
    std::int32_t in_place;
};

// For clients that are trusted: with the containers' own functions.

/// Returns the sum; appends 1000 numbers, each 1.
std::int64_t grow_numbers(vmrpc::Ptr<Numbers> numbers);
/// Appends 100 times "server ".
void grow_text(vmrpc::Ptr<vmrpc::String> text);
/// Appends "server" to the words, and to each of them.
void grow_words(vmrpc::Ptr<Words> words);
/// Adds the positions of each word to `groups`; erases the group "erase me".
void group(vmrpc::Ptr<Words> words, vmrpc::Ptr<Groups> groups);
void count(vmrpc::Ptr<Words> words, vmrpc::Ptr<Counts> counts);
/// Takes its client's container over, and lets go of it.
void take_groups(vmrpc::Ptr<Groups> groups);
/// The sum of the numbers, and of the lengths of all words, in a buffer of the client's.
std::int64_t sum_buffered(vmrpc::Ptr<vmrpc::BufferMap<vmrpc::BufferString, vmrpc::BufferVector<std::int64_t>>> groups);

// For all: a new container of the server's, which belongs to the caller.

vmrpc::Owned<Numbers> make_numbers(std::int64_t count);
vmrpc::Owned<vmrpc::String> make_text(std::int64_t length);
vmrpc::Owned<Groups> make_groups(std::int64_t count);
vmrpc::Owned<Counts> make_counts(std::int64_t count);

// For clients that are not trusted: through a view, a visit, a copy.

Looked view_numbers(vmrpc::Ptr<Numbers> numbers);
Looked view_text(vmrpc::Ptr<vmrpc::String> text);
Looked copy_groups(vmrpc::Ptr<Groups> groups);
Looked visit_groups(vmrpc::Ptr<Groups> groups);
Looked visit_counts(vmrpc::Ptr<Counts> counts);
Looked copy_words(vmrpc::Ptr<Words> words);

}  // namespace conformance
