#include "transport/local/client_segments.hpp"

#include "heap/size_class.hpp"
#include "transport/address_space.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <utility>

namespace vmrpc::transport::local {
namespace {

using layout::Side;

/// As read; the server is trusted to send what makes sense, not to keep this side from crashing.
template <class Message>
std::optional<Message> as(std::span<const std::byte> message) {
    if (message.size() != sizeof(Message)) return std::nullopt;
    Message copy{};
    layout::copy_from_peer(&copy, message.data(), sizeof copy);
    return copy;
}

base::Status check_offer(const HeapOffer& offer) {
    const std::uint32_t index = index_of_heap(offer.heap);
    const bool fits = offer.arena_bytes != 0 && offer.arena_bytes <= heap::kMaxArenaBytes &&
                      offer.arena_bytes % heap::kSpanBytes == 0 &&
                      offer.segment_bytes == layout::further_segment_bytes(offer.arena_bytes);
    if (index >= 1 && index <= layout::kFurtherEntries && fits) return {};
    return base::fail(VMRPC_POISONED, fmt::format("the server offers heap {:#x} with {} bytes in a segment of {}: "
                                                  "cannot be",
                                                  offer.heap, offer.arena_bytes, offer.segment_bytes));
}

}  // namespace

base::Status ClientSegments::take(std::span<const std::byte> message, notify::GuardedFd memory) {
    MessageHead head{};
    if (message.size() >= sizeof head) layout::copy_from_peer(&head, message.data(), sizeof head);
    const bool is_ours = head.magic == kProtocolMagic && head.layout_major == layout::kLayoutMajor;
    const std::unique_lock lock(mutex_);
    if (is_ours && head.kind == MessageKind::kHeapAsk) {
        if (const auto ask = as<HeapAsk>(message)) return on_ask(*ask);
    }
    if (is_ours && head.kind == MessageKind::kHeapOffer) {
        if (const auto offer = as<HeapOffer>(message)) return on_offer(*offer, std::move(memory));
    }
    if (is_ours && head.kind == MessageKind::kHeapReady) {
        if (const auto ready = as<HeapWord>(message)) return on_ready(*ready);
    }
    if (is_ours && head.kind == MessageKind::kHeapEnd) {
        if (const auto end = as<HeapWord>(message)) return on_end(end->heap);
    }
    return base::fail(VMRPC_POISONED, fmt::format("the server sent a message of kind {} and {} bytes",
                                                  static_cast<std::uint32_t>(head.kind), message.size()));
}

base::Status ClientSegments::on_ask(const HeapAsk& ask) const {
    return wish(ask.token, Side::kServer, {});
}

base::Status ClientSegments::wish(std::uint32_t token, Side side, const SegmentWish& what) const {
    HeapWish wish;
    wish.token = token;
    wish.side = static_cast<std::uint32_t>(side);
    wish.arena_bytes = what.arena_bytes;
    wish.flags = equal_addresses_ ? kWishesEqualAddresses : 0;
    // Without the list of free slots the server maps where it likes, and the addresses differ.
    if (const auto slots = own_free_slots()) wish.free_slots = slots->words();
    return send_message(socket_, bytes_of(wish));
}

base::Status ClientSegments::on_offer(const HeapOffer& offer, notify::GuardedFd memory) {
    if (offer.status != VMRPC_OK) {
        const std::string text(offer.text.data(), ::strnlen(offer.text.data(), offer.text.size()));
        if (adding_ && adding_->token == offer.token)
            resolve(base::fail(base::failure_from_peer(offer.status), "the server refused: " + text));
        return {};
    }
    VMRPC_TRY(check_offer(offer));
    if (offer.side == static_cast<std::uint32_t>(Side::kServer)) return on_servers_offer(offer, std::move(memory));
    return on_own_offer(offer, std::move(memory));
}

base::Status ClientSegments::on_own_offer(const HeapOffer& offer, notify::GuardedFd memory) {
    // Who asked for it waits no more.
    if (!adding_ || adding_->token != offer.token || adding_->result) return say(MessageKind::kHeapEnd, offer.heap);
    auto mapped = map(offer, std::move(memory));
    if (mapped)
        adding_->mapped = *mapped;
    else
        resolve(tl::unexpected<base::Error>(mapped.error()));
    return answer(offer.heap, mapped);
}

base::Status ClientSegments::on_servers_offer(const HeapOffer& offer, notify::GuardedFd memory) {
    auto mapped = map(offer, std::move(memory));
    if (mapped) {
        try {
            servers_[offer.heap] = *mapped;
            if (events_ != nullptr) events_->added(*mapped);
        } catch (const std::exception&) {
            servers_.erase(offer.heap);
            mapped = base::fail(VMRPC_OUT_OF_RESOURCES, "out of memory");
        }
    }
    return answer(offer.heap, mapped);
}

base::Result<std::shared_ptr<AddedSegment>> ClientSegments::map(const HeapOffer& offer,
                                                                notify::GuardedFd memory) const {
    if (!memory.valid())
        return base::fail(VMRPC_OUT_OF_RESOURCES,
                          "the descriptor of the heap's memory did not arrive: this process may have as many as it is "
                          "allowed (ulimit -n)");
    VMRPC_TRY(check_segment_memory(memory.get(), offer.segment_bytes));
    auto mapping = map_offered(memory.get(), offer.segment_bytes, offer.uuid, offer.server_address,
                               (offer.flags & kWishesEqualAddresses) != 0);
    if (!mapping) return tl::unexpected<base::Error>(std::move(mapping).error());
    VMRPC_TRY(layout::check_further_segment((*mapping)->base(), offer.segment_bytes, index_of_heap(offer.heap)));
    auto segment = std::make_shared<AddedSegment>();
    segment->heap = offer.heap;
    segment->side = offer.side == static_cast<std::uint32_t>(Side::kServer) ? Side::kServer : Side::kClient;
    segment->arena_bytes = offer.arena_bytes;
    segment->peer_address = offer.server_address;
    segment->mapping = std::move(*mapping);
    if (segment->side == Side::kClient) {
        segment->memory = std::move(memory);
        segment->pages = std::make_unique<MemfdPages>(segment->memory.get());
    }
    return segment;
}

base::Status ClientSegments::answer(heap::HeapId heap,
                                    const base::Result<std::shared_ptr<AddedSegment>>& mapped) const {
    HeapMapped answer;
    answer.heap = heap;
    answer.status = static_cast<std::uint32_t>(mapped ? VMRPC_OK : mapped.error().status);
    answer.client_address = mapped ? (*mapped)->mapping->address() : 0;
    return send_message(socket_, bytes_of(answer));
}

base::Status ClientSegments::on_ready(const HeapWord& ready) {
    if (!adding_ || adding_->result || adding_->mapped == nullptr || adding_->mapped->heap != ready.heap) return {};
    if (ready.status == VMRPC_OK)
        resolve(adding_->mapped);
    else
        resolve(base::fail(base::failure_from_peer(ready.status), "the server has no memory for a heap more"));
    return {};
}

base::Status ClientSegments::on_end(heap::HeapId heap) {
    const auto found = servers_.find(heap);
    if (found == servers_.end())
        return base::fail(VMRPC_POISONED, fmt::format("the server gives up heap {:#x}, which it never offered", heap));
    if (events_ != nullptr) events_->ended(heap);
    servers_.erase(found);
    return say(MessageKind::kHeapEnded, heap);
}

void ClientSegments::watch(SegmentEvents& events) {
    const std::lock_guard lock(mutex_);
    for (const auto& [heap, segment] : servers_) events.added(segment);
    events_ = &events;
}

base::Result<std::shared_ptr<const AddedSegment>> ClientSegments::add(const SegmentWish& what) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kAddLimitNs);
    const auto no_answer = [this] {
        return is_stopped_ ? base::fail(VMRPC_PEER_LOST, "the server has died or closed the connection")
                           : base::fail(VMRPC_TIMED_OUT, "the server does not answer: is it stopped?");
    };
    std::unique_lock lock(mutex_);
    answered_.wait_until(lock, until, [this] { return !adding_ || is_stopped_; });
    if (adding_ || is_stopped_) return no_answer();
    adding_.emplace(Adding{++last_token_, nullptr, std::nullopt});
    if (auto sent = wish(adding_->token, Side::kClient, what); !sent)
        adding_->result = tl::unexpected<base::Error>(std::move(sent).error());
    answered_.wait_until(lock, until, [this] { return adding_->result || is_stopped_; });
    const Adding added = std::exchange(adding_, std::nullopt).value();
    answered_.notify_all();  // another thread may be waiting for its turn
    if (added.result) return *added.result;
    if (added.mapped != nullptr) static_cast<void>(say(MessageKind::kHeapEnd, added.mapped->heap));
    return no_answer();
}

void ClientSegments::end(heap::HeapId heap) {
    // The server's are ended by on_end(). A server that does not read its socket hangs, and keeps the segment.
    const std::lock_guard lock(mutex_);
    if (!servers_.contains(heap)) static_cast<void>(say(MessageKind::kHeapEnd, heap));
}

void ClientSegments::stop() {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    answered_.notify_all();
}

base::Status ClientSegments::say(MessageKind kind, heap::HeapId heap) const {
    const HeapWord word{.head = {.kind = kind}, .heap = heap};
    return send_message(socket_, bytes_of(word));
}

void ClientSegments::resolve(base::Result<Segment> result) {
    adding_->result = std::move(result);
    answered_.notify_all();
}

}  // namespace vmrpc::transport::local
