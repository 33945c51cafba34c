// What calls are compared with: one byte there and back over a stream socket, Unix or TCP.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <list>
#include <string>
#include <thread>

namespace demo {

/// Owns a descriptor.
class Descriptor {
  public:
    explicit Descriptor(int descriptor = -1) : descriptor_(descriptor) {}
    Descriptor(Descriptor&& other) noexcept;
    Descriptor& operator=(Descriptor&& other) noexcept;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor();
    [[nodiscard]] int get() const { return descriptor_; }

  private:
    int descriptor_;
};

/// Where an echo is served.
class EchoPlace {
  public:
    /// A Unix socket beside the server's own; no place if the address is none of this machine.
    static EchoPlace beside(const std::string& address);
    /// "HOST:PORT", an IPv4 address and a port. Throws Failure.
    static EchoPlace tcp(const std::string& host_and_port);
    /// Of a socket that listens.
    static EchoPlace of(int listening);

    [[nodiscard]] bool empty() const { return bytes_ == 0; }
    [[nodiscard]] bool is_tcp() const { return storage_.ss_family == AF_INET; }
    /// "Unix socket" or "TCP", for people.
    [[nodiscard]] std::string kind() const { return is_tcp() ? "TCP_NODELAY" : "Unix socket"; }
    [[nodiscard]] std::string text() const;
    [[nodiscard]] const sockaddr* address() const;
    [[nodiscard]] socklen_t bytes() const { return bytes_; }
    /// A stream socket of the family, without delay. Throws Failure.
    [[nodiscard]] Descriptor make_socket() const;

  private:
    sockaddr_storage storage_{};
    socklen_t bytes_ = 0;
};

/// The client's end. Throws Failure.
class EchoClient {
  public:
    explicit EchoClient(const EchoPlace& place);
    void round_trip();

  private:
    Descriptor socket_;
};

/// Serves, with a thread for each client, until it is destroyed. Throws Failure.
class EchoServer {
  public:
    explicit EchoServer(const EchoPlace& place);
    EchoServer(const EchoServer&) = delete;
    EchoServer& operator=(const EchoServer&) = delete;
    ~EchoServer();
    [[nodiscard]] EchoPlace place() const { return EchoPlace::of(listening_.get()); }

  private:
    struct Client {
        Descriptor socket;
        std::thread thread;
    };
    void accept_clients();

    EchoPlace place_;
    Descriptor listening_;
    std::list<Client> clients_;  // of the accepting thread, until that has ended
    std::thread accepting_;
};

}  // namespace demo
