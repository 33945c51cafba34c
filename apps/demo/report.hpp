// What the demo found out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace demo {

/// Real files, summarized by the server in place.
struct FilesReport {
    std::string title;
    std::uint64_t files = 0;
    std::uint64_t skipped = 0;  // could not be read
    std::uint64_t bytes = 0;
    std::uint64_t lines = 0;
    std::uint64_t implicit_copies = 0;
    double seconds = 0;  // in calls
    std::vector<std::string> different;
};

/// One kind of data at one length.
struct KindReport {
    std::string kind;
    std::uint64_t length = 0;
    std::uint64_t bytes = 0;
    double built_us = 0;    // to build the data in the heap, call, and free it
    double in_heap_us = 0;  // to call with data that lies there
    std::uint64_t calls = 0;
    std::uint64_t different = 0;
};

/// Of round trips.
struct Percentiles {
    double p50_ns = 0;
    double p99_ns = 0;
};

struct LatencyReport {
    std::uint64_t rounds = 0;
    Percentiles call;
    std::string echo_kind;  // empty: none to compare with
    Percentiles echo;
};

/// One way to have the memory with one way to ring.
struct CombinationReport {
    std::string address;
    std::string memory;  // as in the address
    std::string ring;
    bool interrupted = false;  // a client that sleeps; else it looks
    double connect_ms = 0;
    Percentiles call;
    std::uint64_t calls = 0;  // whose results were checked
    std::uint64_t different = 0;
    std::uint64_t implicit_copies = 0;
    std::string failure;  // why it could not be called; empty: it could

    [[nodiscard]] bool equal() const { return failure.empty() && different == 0 && implicit_copies == 0; }
};

struct Report {
    std::string address;
    std::string guest;          // what runs the guest that the client is in; empty: it is in none
    std::string kernel;         // of the guest
    std::ptrdiff_t offset = 0;  // vmrpc_offset
    FilesReport files;
    std::vector<KindReport> kinds;
    LatencyReport latency;
    std::uint64_t implicit_copies = 0;            // of all of the above
    std::vector<CombinationReport> combinations;  // in a guest: the first one has made all of the above

    /// Whether everything was as it should be.
    [[nodiscard]] bool equal() const;
    [[nodiscard]] std::string table() const;
    [[nodiscard]] std::string json() const;

  private:
    [[nodiscard]] std::string who_and_where() const;
};

}  // namespace demo
