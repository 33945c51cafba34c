// Serves the processes of a guest from a device that this process holds; src/transport/vm/doorbell/broker_protocol.hpp
// says what they may ask. One thread, that never waits for a client.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/transport.hpp"
#include "transport/vm/doorbell/broker_protocol.hpp"
#include "transport/vm/doorbell/vfio_device.hpp"

#include <poll.h>

#include <cstdint>
#include <string>
#include <vector>

namespace vmrpc::doorbell {

/// Binds the device's name and listens. Errors: VMRPC_ADDRESS_IN_USE (another broker lives), VMRPC_OUT_OF_RESOURCES.
base::Result<notify::GuardedFd> listen_for(const std::string& pci_address);

struct BrokerSettings {
    std::string address{};  // of the device
    transport::vm::VfioPlaces places{};
    bool stays = false;                       // without clients too
    std::int64_t idle_ns = 2'000'000'000;     // without clients for so long it ends
    std::int64_t silence_ns = 5'000'000'000;  // who has not been admitted by then is disconnected
};

class Broker {
  public:
    /// `device`: what is handed out, or the error that every client is told.
    Broker(BrokerSettings settings, notify::GuardedFd listener, base::Result<transport::vm::VfioDevice> device);

    /// Serves until it has had no client for a while, or all have been told the error, or `stop` (-1: none) can be
    /// read.
    void run(int stop);

  private:
    struct Client {
        notify::GuardedFd socket;
        std::int64_t since_ns = 0;
        bool is_admitted = false;
    };

    [[nodiscard]] bool takes_more() const;
    [[nodiscard]] std::vector<pollfd> watched(int stop) const;
    [[nodiscard]] base::Deadline next_limit() const;
    void accept_all();
    void drop_silent();
    bool is_over();
    bool serve(Client& client);
    bool answer_open(Client& client, int proof);
    bool answer_vector(const Client& client, std::uint32_t vector) const;
    [[nodiscard]] static bool refuse(const Client& client, std::uint16_t kind, const base::Error& error);

    BrokerSettings settings_;
    notify::GuardedFd listener_;
    base::Result<transport::vm::VfioDevice> device_;
    std::vector<Client> clients_;
    std::int64_t idle_since_ns_;
    bool has_told_ = false;  // somebody knows that the device could not be opened
};

}  // namespace vmrpc::doorbell
