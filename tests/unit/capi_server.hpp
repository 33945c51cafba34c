// A C server that runs on a thread of the test, and a client of it.
#pragma once

#include "capi_functions.h"
#include "capi_temp_folder.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace vmrpc::test {

class CapiServer {
  public:
    explicit CapiServer(int trust_peer = 0) : CapiServer(trusting(trust_peer)) {}
    explicit CapiServer(vmrpc_serve_options options) {
        options.struct_bytes = sizeof options;
        options.on_open = capi_on_open;
        options.on_close = capi_on_close;
        options.user = &notes;
        EXPECT_EQ(vmrpc_serve(folder_.address().c_str(), &options, &server), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
        EXPECT_EQ(capi_add_all(server), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
        thread_ = std::thread([this] { EXPECT_EQ(VMRPC_RUN(server), VMRPC_OK); });
    }
    CapiServer(const CapiServer&) = delete;
    CapiServer& operator=(const CapiServer&) = delete;
    ~CapiServer() { close(); }

    void stop() {
        if (!thread_.joinable()) return;
        VMRPC_STOP(server);
        thread_.join();
    }
    void close() {
        stop();
        EXPECT_EQ(vmrpc_close(server), VMRPC_OK);
        server = nullptr;
    }
    [[nodiscard]] std::string address() const { return folder_.address(); }

    vmrpc_server* server = nullptr;
    capi_notes notes{};  // the serving thread's, until it has stopped

  private:
    static vmrpc_serve_options trusting(int trust_peer) {
        vmrpc_serve_options options{};
        options.trust_peer = trust_peer;
        return options;
    }

    TempFolder folder_;
    std::thread thread_;
};

class CapiClient {
  public:
    explicit CapiClient(const CapiServer& server, vmrpc_connect_options options = {}) {
        options.struct_bytes = sizeof options;
        EXPECT_EQ(vmrpc_connect(server.address().c_str(), &options, &connection), VMRPC_OK) << VMRPC_LAST_ERROR_TEXT();
    }
    CapiClient(const CapiClient&) = delete;
    CapiClient& operator=(const CapiClient&) = delete;
    ~CapiClient() { close(); }
    void close() {
        EXPECT_EQ(vmrpc_close(connection), VMRPC_OK);
        connection = nullptr;
    }
    [[nodiscard]] vmrpc_impl_stats stats() const {
        vmrpc_impl_stats stats{};
        stats.struct_bytes = sizeof stats;
        EXPECT_EQ(vmrpc_impl_read_stats(connection, &stats), VMRPC_OK);
        return stats;
    }

    vmrpc_connection* connection = nullptr;
};

}  // namespace vmrpc::test
