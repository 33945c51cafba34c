// vmrpc, C++20: typed calls without an interface language, a code generator, or a copy.
//
//     // shared header
//     double mean(std::span<const double> values);
//
//     // server
//     vmrpc::Server server("local:/run/demo.sock");
//     server.add<mean>();
//     server.run();
//
//     // client
//     auto client = vmrpc::Client::connect("local:/run/demo.sock").value();
//     auto values = client.heap().make_array<double>(1'000'000).value();  // lives in the RPC heap
//     vmrpc::Result<double> m = client.call<mean>(values);                // nothing is copied, mean is not linked in
#pragma once

#include "vmrpc/callback.hpp"
#include "vmrpc/client.hpp"
#include "vmrpc/data.hpp"
#include "vmrpc/error.hpp"
#include "vmrpc/function.hpp"
#include "vmrpc/future.hpp"
#include "vmrpc/server.hpp"
#include "vmrpc/stack.hpp"
#include "vmrpc/stub.hpp"
