// A second process, forked from the test.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>

namespace vmrpc::transport::conformance {

/// Runs a function in a forked child. The two tell each other "go on" over pipes; a child whose parent is gone, or that
/// takes more than a minute, is ended by the system.
class Child {
  public:
    /// What the child's function gets.
    class Parent {
      public:
        Parent(int in, int out) : in_(in), out_(out) {}
        /// The child has come to the next point.
        void tell() const { static_cast<void>(!::write(out_, "x", 1)); }
        /// Waits for Child::tell(); ends the child if there will be none.
        void await() const {
            char byte = 0;
            if (::read(in_, &byte, 1) != 1) ::_exit(99);
        }

      private:
        int in_;
        int out_;
    };

    explicit Child(const std::function<int(const Parent&)>& run) {
        ::signal(SIGPIPE, SIG_IGN);  // telling a child that has ended is no reason to end
        std::array<int, 2> to_child{};
        std::array<int, 2> from_child{};
        if (::pipe(to_child.data()) != 0 || ::pipe(from_child.data()) != 0) return;
        pid_ = ::fork();
        if (pid_ == 0) {
            ::alarm(60);
            ::close(to_child[1]);
            ::close(from_child[0]);
            ::_exit(run(Parent(to_child[0], from_child[1])));
        }
        ::close(to_child[0]);
        ::close(from_child[1]);
        in_ = from_child[0];
        out_ = to_child[1];
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (pid_ > 0) kill();
        ::close(in_);
        ::close(out_);
    }

    /// Waits for Parent::tell(); false if the child ends instead, or after 30 s.
    [[nodiscard]] bool await() const {
        pollfd poll{.fd = in_, .events = POLLIN, .revents = 0};
        char byte = 0;
        return ::poll(&poll, 1, 30'000) == 1 && ::read(in_, &byte, 1) == 1;
    }
    void tell() const { static_cast<void>(!::write(out_, "x", 1)); }
    /// SIGKILL; returns when it is gone.
    void kill() {
        ::kill(pid_, SIGKILL);
        static_cast<void>(result());
    }
    /// Waits for its end: what its function returned, or -1.
    [[nodiscard]] int result() {
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    pid_t pid_ = -1;
    int in_ = -1;
    int out_ = -1;
};

}  // namespace vmrpc::transport::conformance
