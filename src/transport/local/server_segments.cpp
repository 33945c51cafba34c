#include "transport/local/server_segments.hpp"

#include "heap/size_class.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <utility>

namespace vmrpc::transport::local {
namespace {

using layout::Side;

base::Status unexpected_heap(const char* message, heap::HeapId heap) {
    return base::fail(VMRPC_POISONED,
                      fmt::format("it sent {} for heap {:#x}, which it cannot mean now", message, heap));
}

bool cuts_alike(const HeapWish& wish) {
    return wish.first_slot == kFirstSlot && wish.slot_bytes == kSlotBytes && wish.slot_count == kSlotCount;
}

/// A private copy of a message whose size is checked.
template <class Message>
Message copy_of(std::span<const std::byte> message) {
    Message copy{};
    layout::copy_from_peer(&copy, message.data(), sizeof copy);
    return copy;
}

}  // namespace

base::Status ServerSegments::take(std::span<const std::byte> message) {
    MessageHead head{};
    if (message.size() < sizeof head) return base::fail(VMRPC_POISONED, "it sent less than a message's head");
    layout::copy_from_peer(&head, message.data(), sizeof head);
    if (head.magic != kProtocolMagic || head.layout_major != layout::kLayoutMajor)
        return base::fail(VMRPC_POISONED, "it sent what is no message after the hand-shake");
    std::unique_lock lock(mutex_);
    if (head.kind == MessageKind::kHeapWish && message.size() == sizeof(HeapWish))
        return on_wish(copy_of<HeapWish>(message));
    if (head.kind == MessageKind::kHeapMapped && message.size() == sizeof(HeapMapped))
        return on_mapped(copy_of<HeapMapped>(message));
    if (head.kind == MessageKind::kHeapEnd && message.size() == sizeof(HeapWord))
        return on_end(copy_of<HeapWord>(message).heap, lock);
    if (head.kind == MessageKind::kHeapEnded && message.size() == sizeof(HeapWord))
        return on_ended(copy_of<HeapWord>(message).heap);
    return base::fail(VMRPC_POISONED, fmt::format("it sent a message of kind {} and {} bytes after the hand-shake",
                                                  static_cast<std::uint32_t>(head.kind), message.size()));
}

base::Status ServerSegments::on_wish(const HeapWish& wish) {
    if (wish.side == static_cast<std::uint32_t>(Side::kServer)) return answer_to_asking(wish);
    if (wish.side == static_cast<std::uint32_t>(Side::kClient)) return answer_client(wish);
    return base::fail(VMRPC_POISONED, fmt::format("it sent a wish for a heap of side {}", wish.side));
}

/// What the client sent because this side asked for it; perhaps too late.
base::Status ServerSegments::answer_to_asking(const HeapWish& wish) {
    if (wish.token == 0 || wish.token > last_token_)
        return base::fail(VMRPC_POISONED, fmt::format("it answered question {}, which was not asked", wish.token));
    if (!asking_ || asking_->token != wish.token || asking_->result) return {};
    if (asking_->offered != 0)
        return base::fail(VMRPC_POISONED, fmt::format("it answered question {} twice", wish.token));
    auto offer = make(wish, Side::kServer, asking_->wish.arena_bytes);
    if (!offer) {
        resolve_asking(tl::unexpected<base::Error>(std::move(offer).error()));
        return {};
    }
    asking_->offered = offer->heap;
    const std::array<int, 1> memory{find(offer->heap)->segment->memory.get()};
    return send_message(socket_, bytes_of(*offer), memory);
}

base::Status ServerSegments::answer_client(const HeapWish& wish) {
    for (const Entry& entry : entries_) {
        if (entry.state == State::kOffered && entry.segment->side == Side::kClient)
            return base::fail(VMRPC_POISONED, "it wished for a heap before it took the one that was offered");
    }
    const auto checked = check_clients_wish(wish);
    auto offer = checked ? make(wish, Side::kClient, wish.arena_bytes)
                         : base::Result<HeapOffer>(tl::unexpected<base::Error>(checked.error()));
    if (!offer) {
        HeapOffer refusal;
        refusal.status = static_cast<std::uint32_t>(offer.error().status);
        refusal.token = wish.token;
        offer.error().text.copy(refusal.text.data(), refusal.text.size() - 1);
        return send_message(socket_, bytes_of(refusal));
    }
    AddedSegment& segment = *find(offer->heap)->segment;
    const std::array<int, 1> memory{segment.memory.get()};
    auto sent = send_message(socket_, bytes_of(*offer), memory);
    segment.memory.reset();  // its owner commits and gives back
    return sent;
}

base::Status ServerSegments::check_clients_wish(const HeapWish& wish) const {
    if (wish.arena_bytes == 0 || wish.arena_bytes > heap::kMaxArenaBytes || wish.arena_bytes % heap::kSpanBytes != 0)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("a heap of {} bytes: it must be whole spans of {}, and at most {}",
                                      wish.arena_bytes, heap::kSpanBytes, heap::kMaxArenaBytes));
    std::uint64_t used = 0;
    for (const Entry& entry : entries_) {
        if (entry.state != State::kFree && entry.segment->side == Side::kClient) used += entry.segment->arena_bytes;
    }
    if (used + wish.arena_bytes <= terms_.most_client_bytes) return {};
    return base::fail(
        VMRPC_OUT_OF_RESOURCES,
        fmt::format("a heap of {} bytes, and the client's others have {}: the server lets a client's have "
                    "{} together; destroy one, wish a smaller one, or raise the server's "
                    "further_heap_bytes",
                    wish.arena_bytes, used, terms_.most_client_bytes));
}

base::Result<std::uint32_t> ServerSegments::free_index() const {
    bool is_one_ending = false;
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
        if (entries_[i].state == State::kFree) return i + 1;
        is_one_ending = is_one_ending || entries_[i].state == State::kEnding;
    }
    if (is_one_ending)
        return base::fail(VMRPC_BUSY,
                          fmt::format("all {} further segments are taken, of which some are being given up: try again",
                                      entries_.size()));
    return base::fail(VMRPC_OUT_OF_RESOURCES,
                      fmt::format("a connection has at most {} heaps in segments of their own, of both sides: destroy "
                                  "one, or set `within`",
                                  entries_.size()));
}

/// Makes, maps and formats a segment, and enters it as offered.
base::Result<HeapOffer> ServerSegments::make(const HeapWish& wish, Side side, std::uint64_t arena_bytes) {
    const auto index = free_index();
    if (!index) return tl::unexpected<base::Error>(index.error());
    const std::uint64_t bytes = layout::further_segment_bytes(arena_bytes);
    auto memory = make_segment_memory(bytes);
    if (!memory) return tl::unexpected<base::Error>(std::move(memory).error());
    const bool equal_addresses = terms_.equal_addresses && (wish.flags & kWishesEqualAddresses) != 0;
    const layout::Uuid uuid = layout::make_uuid();
    auto segment = std::make_shared<AddedSegment>();
    segment->heap = number_of_heap(++last_serial_, *index);
    segment->side = side;
    segment->arena_bytes = arena_bytes;
    segment->memory = std::move(*memory);
    VMRPC_TRY(map(*segment, wish, equal_addresses, uuid));
    layout::format_further_segment(segment->base(), bytes, *index, uuid, "vmrpc");
    if (side == Side::kServer) segment->pages = std::make_unique<MemfdPages>(segment->memory.get());
    HeapOffer offer;
    offer.token = wish.token;
    offer.side = static_cast<std::uint32_t>(side);
    offer.heap = segment->heap;
    offer.flags = equal_addresses ? kWishesEqualAddresses : 0;
    offer.segment_bytes = bytes;
    offer.arena_bytes = arena_bytes;
    offer.server_address = segment->mapping->address();
    offer.uuid = uuid;
    entries_[*index - 1] = {State::kOffered, std::move(segment)};
    return offer;
}

base::Status ServerSegments::map(AddedSegment& segment, const HeapWish& wish, bool equal_addresses,
                                 const layout::Uuid& uuid) {
    const int memory = segment.memory.get();
    const std::uint64_t bytes = layout::further_segment_bytes(segment.arena_bytes);
    base::Result<std::shared_ptr<Mapping>> mapping = nullptr;
    if (equal_addresses && cuts_alike(wish))
        mapping = Mapping::at_common_slot(SlotMap(wish.free_slots), memory, bytes, uuid);
    if (!mapping || *mapping == nullptr) mapping = Mapping::anywhere(memory, bytes, uuid);
    if (!mapping) return tl::unexpected<base::Error>(std::move(mapping).error());
    segment.mapping = std::move(*mapping);
    return {};
}

base::Status ServerSegments::on_mapped(const HeapMapped& mapped) {
    Entry* const entry = find(mapped.heap);
    // What this side has taken back meanwhile.
    if (entry != nullptr && entry->state == State::kEnding && entry->segment->side == Side::kServer) return {};
    if (entry == nullptr || entry->state != State::kOffered) return unexpected_heap("HeapMapped", mapped.heap);
    const bool is_own = entry->segment->side == Side::kServer;
    if (mapped.status != VMRPC_OK) {
        forget(*entry);
        if (is_own)
            resolve_asking(base::fail(VMRPC_OUT_OF_RESOURCES,
                                      fmt::format("the client cannot map the heap's segment (status {}): it has no "
                                                  "address space, memory or descriptors for it",
                                                  mapped.status)));
        return {};
    }
    entry->segment->peer_address = mapped.client_address;
    note(*entry->segment);
    entry->state = State::kInUse;
    if (!is_own) return finish_clients(*entry);
    resolve_asking(std::shared_ptr<const AddedSegment>(entry->segment));
    return {};
}

/// The client may use its segment when this side knows it.
base::Status ServerSegments::finish_clients(Entry& entry) {
    HeapWord ready{.head = {.kind = MessageKind::kHeapReady}, .heap = entry.segment->heap};
    try {
        if (events_ != nullptr) events_->added(entry.segment);
    } catch (const std::exception&) {
        ready.status = VMRPC_OUT_OF_RESOURCES;
        forget(entry);
    }
    return send_message(socket_, bytes_of(ready));
}

base::Status ServerSegments::on_end(heap::HeapId heap, std::unique_lock<std::mutex>& lock) {
    Entry* const entry = find(heap);
    const bool is_clients = entry != nullptr && entry->segment->side == Side::kClient;
    if (!is_clients || entry->state == State::kEnding) return unexpected_heap("HeapEnd", heap);
    if (entry->state == State::kOffered) {  // the client did not wait for the offer
        forget(*entry);
        return {};
    }
    entry->state = State::kEnding;
    lock.unlock();
    report_ended_(heap);
    return {};
}

base::Status ServerSegments::on_ended(heap::HeapId heap) {
    Entry* const entry = find(heap);
    const bool is_own = entry != nullptr && entry->segment->side == Side::kServer;
    if (!is_own || entry->state != State::kEnding) return unexpected_heap("HeapEnded", heap);
    forget(*entry);
    return {};
}

void ServerSegments::watch(SegmentEvents& events) {
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : entries_) {
        if (entry.state == State::kInUse && entry.segment->side == Side::kClient) events.added(entry.segment);
    }
    events_ = &events;
}

base::Result<std::shared_ptr<const AddedSegment>> ServerSegments::add(const SegmentWish& wish) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kAddLimitNs);
    const auto no_answer = [this] {
        return is_stopped_ ? base::fail(VMRPC_PEER_LOST, "the client has died or closed the connection")
                           : base::fail(VMRPC_TIMED_OUT,
                                        "the client has not mapped the heap's segment within a second: is it stopped?");
    };
    std::unique_lock lock(mutex_);
    answered_.wait_until(lock, until, [this] { return !asking_ || is_stopped_; });
    if (asking_ || is_stopped_) return no_answer();
    if (const auto index = free_index(); !index) return tl::unexpected<base::Error>(index.error());
    asking_.emplace(Asking{wish, ++last_token_, 0, std::nullopt});
    HeapAsk ask;
    ask.token = asking_->token;
    if (auto sent = send_message(socket_, bytes_of(ask)); !sent)
        asking_->result = tl::unexpected<base::Error>(std::move(sent).error());
    answered_.wait_until(lock, until, [this] { return asking_->result || is_stopped_; });
    const Asking asked = std::exchange(asking_, std::nullopt).value();
    answered_.notify_all();  // another thread may be waiting for its turn
    if (asked.result) return *asked.result;
    if (Entry* const entry = find(asked.offered)) {
        entry->state = State::kEnding;
        say(MessageKind::kHeapEnd, asked.offered);
    }
    return no_answer();
}

void ServerSegments::end(heap::HeapId heap) {
    const std::lock_guard lock(mutex_);
    Entry* const entry = find(heap);
    if (entry == nullptr) return;
    if (entry->segment->side == Side::kClient) return forget(*entry);
    entry->state = State::kEnding;
    say(MessageKind::kHeapEnd, heap);
}

void ServerSegments::stop() {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    answered_.notify_all();
}

void ServerSegments::resolve_asking(base::Result<std::shared_ptr<const AddedSegment>> result) {
    if (asking_) asking_->result = std::move(result);
    answered_.notify_all();
}

void ServerSegments::note(const AddedSegment& segment) const {
    const bool equal = segment.peer_address == segment.mapping->address();
    const auto& header = *reinterpret_cast<const layout::SegmentHeader*>(segment.base());
    layout::FurtherSegment entry{};
    entry.side = static_cast<std::uint32_t>(segment.side);
    entry.segment_bytes = segment.mapping->bytes();
    entry.agreed_address = equal ? segment.peer_address : 0;
    layout::copy_from_peer(entry.uuid.data(), header.uuid.data(), entry.uuid.size());
    entry.arena_bytes = segment.arena_bytes;
    entry.heap = segment.heap;
    layout::note_further_segment(segment_0_, index_of_heap(segment.heap), entry);
}

void ServerSegments::forget(Entry& entry) noexcept {
    layout::forget_further_segment(segment_0_, index_of_heap(entry.segment->heap));
    entry = {};
}

ServerSegments::Entry* ServerSegments::find(heap::HeapId heap) {
    const std::uint32_t index = index_of_heap(heap);
    if (index < 1 || index > entries_.size()) return nullptr;
    Entry& entry = entries_[index - 1];
    return entry.state != State::kFree && entry.segment->heap == heap ? &entry : nullptr;
}

/// A peer that does not read its socket is one that hangs, and keeps what it is not told to give up.
void ServerSegments::say(MessageKind kind, heap::HeapId heap) const {
    const HeapWord word{.head = {.kind = kind}, .heap = heap};
    static_cast<void>(send_message(socket_, bytes_of(word)));
}

}  // namespace vmrpc::transport::local
