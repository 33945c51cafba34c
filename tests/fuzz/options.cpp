// Options structs of the C API: any bytes in any of their fields, in blocks of just the bytes that they say to have.
#include "call/function.hpp"
#include "fuzz/input.hpp"

#include <vmrpc/vmrpc.hpp>

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <tuple>

namespace vmrpc::fuzz {
namespace {

constexpr const char* kNowhere = "local:/dev/null/socket";

/// A struct whose bytes the input says; its size is right, mostly. In a block of its own, so that what is read behind
/// the size that it says is found.
template <class Options>
class Given {
  public:
    explicit Given(Input& input) {
        std::size_t bytes = sizeof(Options);
        if (input.one_in(8)) bytes = sizeof bytes + input.take<std::uint8_t>();
        block_.reset(static_cast<std::byte*>(std::calloc(1, bytes)));
        for (std::uint32_t places = input.below(6); places != 0; --places) input.scribble({block_.get(), bytes});
        if (!input.one_in(16))
            std::memcpy(block_.get(), &bytes, sizeof bytes);
        else if (bytes != sizeof(Options))
            block_.reset();  // it may say to have what it has not: the caller's mistake
    }
    [[nodiscard]] Options* get() const { return reinterpret_cast<Options*>(block_.get()); }
    /// Whether the library will read the fields.
    [[nodiscard]] bool is_whole() const { return block_ != nullptr && get()->struct_bytes == sizeof(Options); }

  private:
    struct Free {
        void operator()(std::byte* block) const { std::free(block); }
    };
    std::unique_ptr<std::byte, Free> block_;
};

/// A connection to a server in this process, for what needs one.
class World {
  public:
    World() : address_("local:fuzz-options-" + std::to_string(::getpid()) + ".sock") {
        const vmrpc_serve_options options{.struct_bytes = sizeof options, .heap_bytes = 1U << 22};
        if (vmrpc_serve(address_.c_str(), &options, &server) != VMRPC_OK) std::abort();
        thread_ = std::thread([this] { VMRPC_RUN(server); });
        if (vmrpc_connect(address_.c_str(), nullptr, &connection) != VMRPC_OK) std::abort();
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    ~World() {
        vmrpc_close(connection);
        VMRPC_STOP(server);
        thread_.join();
        vmrpc_close(server);
    }
    vmrpc_connection* connection = nullptr;
    vmrpc_server* server = nullptr;

  private:
    std::string address_;
    std::thread thread_;
};

void require(bool holds) {
    if (!holds) std::abort();
}

void connect_or_serve(Input& input) {
    vmrpc_connection* connection = nullptr;
    vmrpc_server* server = nullptr;
    require(vmrpc_connect(kNowhere, Given<vmrpc_connect_options>(input).get(), &connection) != VMRPC_OK);
    require(vmrpc_serve(kNowhere, Given<vmrpc_serve_options>(input).get(), &server) != VMRPC_OK);
    require(connection == nullptr && server == nullptr);
}

void allocate(const World& world, Input& input) {
    const Given<vmrpc_malloc_options> options(input);
    const std::size_t bytes = input.flag() ? input.take<std::uint16_t>() : input.take<std::size_t>();
    void* const block = vmrpc_malloc(world.connection, bytes, options.get());
    if (block == nullptr) return;
    std::memset(block, 1, bytes);
    require(VMRPC_USABLE_BYTES(world.connection, block) >= bytes);
    require(vmrpc_free(world.connection, block) == VMRPC_OK);
}

void set_heap_up(const World& world, Input& input) {
    const Given<vmrpc_heap_options> options(input);
    if (options.is_whole()) options.get()->bytes %= std::uint64_t{1} << 22;  // it may be taken at once
    vmrpc_heap heap = VMRPC_DEFAULT_HEAP;
    if (vmrpc_heap_setup(world.connection, options.get(), &heap) == VMRPC_OK)
        require(vmrpc_heap_destroy(world.connection, heap) == VMRPC_OK);
    std::ignore = VMRPC_HEAP_STATS(world.connection, input.take<vmrpc_heap>(), Given<vmrpc_heap_stats>(input).get());
    std::ignore = vmrpc_heap_destroy(world.connection, input.take<vmrpc_heap>());
}

void call_unknown(const World& world, Input& input) {
    const Given<vmrpc_call_options> options(input);
    using Stub = decltype(detail::stub_of<named<"fuzz.unknown", void()>>());
    void* const none[] = {nullptr};
    require(vmrpc_impl_call(world.connection, &Stub::declaration(), options.get(), none, nullptr) != VMRPC_OK);
    std::ignore = vmrpc_impl_read_stats(world.connection, Given<vmrpc_impl_stats>(input).get());
}

/// Declarations: names and arguments that cannot be.
void declare(Input& input) {
    vmrpc_impl_argument arguments[VMRPC_IMPL_MAX_ARGUMENTS + 1]{};
    for (auto& argument : arguments) {
        argument = {static_cast<std::uint16_t>(input.below(8)), static_cast<std::uint16_t>(input.below(8)), 8, 8};
        input.spoil(argument);
    }
    std::string name(input.one_in(2) ? "fuzz.added" : "");
    for (const std::byte letter : input.take_bytes(input.take<std::uint8_t>() * 2U)) name += static_cast<char>(letter);
    vmrpc_impl_function declaration{sizeof declaration,
                                    name.c_str(),
                                    input.below(3),
                                    input.below(VMRPC_IMPL_MAX_ARGUMENTS + 3),
                                    static_cast<vmrpc_impl_argument*>(arguments),
                                    {},
                                    0};
    input.spoil(declaration.result);
    if (input.one_in(8)) declaration.struct_bytes = input.take<std::uint8_t>();
    // Not registered: a process never forgets a function.
    if (const auto function = call::Function::from(declaration)) {
        require(function->signature().size() <= call::kMaxSignatureBytes);
        require(function->request_bytes() + function->result_bytes() <= call::kMaxFrameBytes);
    }
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc::fuzz;
    static const World world;
    Input input(data, size);
    connect_or_serve(input);
    allocate(world, input);
    set_heap_up(world, input);
    call_unknown(world, input);
    declare(input);
    return 0;
}
