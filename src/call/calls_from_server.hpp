// Calls back, the client's end: functions of this process that its server calls.
#pragma once

#include "base/result.hpp"
#include "call/callback_lane.hpp"
#include "call/function_table.hpp"
#include "call/server_frame.hpp"
#include "layout/region.hpp"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

namespace vmrpc::call {

class ClientConnection;

/// Those of one connection. They run on threads that wait for answers, one at a time on each, and nested. Threads: any.
class CallsFromServer {
  public:
    explicit CallsFromServer(ClientConnection& client) : client_(client) {}
    CallsFromServer(const CallsFromServer&) = delete;
    CallsFromServer& operator=(const CallsFromServer&) = delete;
    ~CallsFromServer();

    /// Errors: VMRPC_BAD_ARGUMENT (a function of this signature is there already).
    base::Status add(const FunctionTable::Entry& entry);
    /// The same, but one that is there already is as good.
    base::Status add_once(const FunctionTable::Entry& entry);

    /// Whether a request is there on one of the lanes, given as bits by number.
    [[nodiscard]] bool pending(std::uint64_t lanes) const;
    enum class Served { kNothing, kOwn, kUsers };
    /// Executes one request, if one is there. Returns whether it was, of the library's own functions or the user's; the
    /// connection may be over afterwards.
    Served serve(std::uint64_t lanes);

    /// Lends an object to the server's functions until it is taken back, and returns its number there.
    std::uint64_t lend(void* object);
    /// Waits until no thread uses it.
    void take_back(std::uint64_t number);
    /// What was lent, to be used until done_with(); nullptr if it was taken back.
    void* use_lent(std::uint64_t number);
    void done_with(std::uint64_t number);

  private:
    struct ServedLane {
        ServedLane(layout::Lane& lane, std::byte* segment, layout::Extent frames) : replies(lane, segment, frames) {}
        std::mutex mutex;  // for take()
        CallbackReplies replies;
    };
    struct Lent {
        void* object;
        std::uint32_t users = 0;
    };

    [[nodiscard]] bool is_pending(std::uint32_t number) const;
    ServedLane& served(std::uint32_t number);
    Served serve_one(ServedLane& lane);
    void execute(ServedLane& lane, const CheckedRequest& request);
    base::Status run(const CheckedRequest& request, const FunctionTable::Entry& entry, ServerFrame& frame);
    std::unique_ptr<ServerFrame> take_frame();

    ClientConnection& client_;
    mutable std::shared_mutex functions_mutex_;
    FunctionTable functions_{FunctionTable::Of::kClient};  // under functions_mutex_
    /// By number; made when first used. Release when it is; pairs with the acquire in is_pending().
    std::array<std::atomic<ServedLane*>, layout::kMaxLanes> lanes_{};
    std::mutex mutex_;
    // Under mutex_:
    std::vector<std::unique_ptr<ServerFrame>> spare_frames_;
    std::map<std::uint64_t, Lent> lent_;
    std::uint64_t next_lent_ = 1;
    std::condition_variable lent_is_free_;
};

}  // namespace vmrpc::call
