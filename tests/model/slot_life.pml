/* The life of a reply slot: calls that are answered in time, calls that are given up and answered late, requests to
 * cancel them, calls whose reply nobody waits for. A lane's slots and what its calls hold are free again exactly when
 * the server can no longer write there; nothing is freed twice, nothing is lost. Violations are failed assertions.
 *
 * Mirrors: src/call/client_lane.cpp reserve
 * Mirrors: src/call/client_lane.cpp release
 * Mirrors: src/call/client_lane.cpp abandon
 * Mirrors: src/call/client_lane.hpp sweep
 * Mirrors: src/call/client_lane.hpp settle
 * Mirrors: src/call/client_lane.cpp late_block
 * Mirrors: src/call/client_connection.cpp finish
 * Mirrors: src/call/client_connection.cpp give_up
 * Mirrors: src/call/server_lane.cpp take
 * Mirrors: src/call/server_lane.cpp publish
 *
 * Broken: RELEASE_AT_GIVE_UP a call that is given up releases its slot at once
 * Broken: FREE_ARGUMENTS_AT_GIVE_UP it keeps the slot, but frees the copies of its arguments
 * Broken: SWEEP_FORGETS_BLOCK a late reply releases the slot, and its block is nobody's
 * Broken: SWEEP_WITHOUT_SEQUENCE an earlier call's reply, still in the slot, is taken for the late one
 * Broken: WAIT_WITHOUT_SEQUENCE it is taken for the one that is awaited
 * Broken: SWEEP_KEEPS_ABANDONED the swept call stays on the list, and is swept again
 * Broken: NO_SWEEP slots of calls that were given up never come back
 * Broken: CANCEL_RELEASES_SLOT the answer to the request to cancel is taken for the end of the call
 * Broken: CANCEL_ANSWERS_TWICE the server answers a cancelled call at once, and again when the function returns
 * Broken: SEQUENCE_BEFORE_BODY the server publishes the reply's sequence before its body
 */

#define SLOTS 2
#define REQUESTS 7
#define LINES SLOTS /* as few as can be: in the region there are four times as many as slots */
#define NONE 255

/* By sequence, 1 … REQUESTS: a call, with copies of its arguments, that may return a block; or a request without. */
mtype = { kCall, kCancel };
mtype kind[REQUESTS + 1];
byte slot_of[REQUESTS + 1];
byte target[REQUESTS + 1]; /* of a request to cancel */
bool holds_arguments[REQUESTS + 1];
bool has_block[REQUESTS + 1]; /* allocated, and not freed */

/* The lane. The reply's words in the order that the server stores them: release, and acquire, keep it. */
byte posted;
byte reply_sequence[SLOTS];
byte reply_block[SLOTS]; /* whose block the reply's body names, or none */

/* The server's. */
byte taken;
bool is_answered[REQUESTS + 1];
byte answered;

/* The client's. */
bool is_free[SLOTS] = true;
bool is_abandoned[SLOTS];
byte sequence_of[SLOTS];

inline free_block(call) {
    assert(has_block[call]);
    has_block[call] = false
}
inline free_arguments(call) {
    assert(is_answered[call]); /* the server reads and writes them until then */
    holds_arguments[call] = false
}

/* finish(): the reply is there. */
inline take_reply(slot) {
    d_step {
        if
        :: reply_block[slot] != NONE ->
            assert(reply_block[slot] == sequence_of[slot]);
            free_block(reply_block[slot]) /* the caller's now, who frees it */
        :: else
        fi;
        if
        :: holds_arguments[sequence_of[slot]] -> free_arguments(sequence_of[slot])
        :: else
        fi;
        is_free[slot] = true
    }
}

#ifdef SWEEP_WITHOUT_SEQUENCE
#define is_late_reply_there(slot) (reply_sequence[slot] != 0)
#else
#define is_late_reply_there(slot) (reply_sequence[slot] == sequence_of[slot])
#endif
#ifdef WAIT_WITHOUT_SEQUENCE
#define is_reply_there(slot) (reply_sequence[slot] != 0)
#else
#define is_reply_there(slot) (reply_sequence[slot] == sequence_of[slot])
#endif

inline sweep(slot) {
    if
    :: d_step {
           is_abandoned[slot] && is_late_reply_there(slot) ->
           if
           :: holds_arguments[sequence_of[slot]] -> free_arguments(sequence_of[slot])
           :: else
           fi;
#ifndef SWEEP_FORGETS_BLOCK
           if
           :: kind[sequence_of[slot]] == kCall && reply_block[slot] != NONE -> free_block(reply_block[slot])
           :: else
           fi;
#endif
#ifndef SWEEP_KEEPS_ABANDONED
           is_abandoned[slot] = false;
#endif
#ifdef CANCEL_RELEASES_SLOT
           if
           :: kind[sequence_of[slot]] == kCancel ->
               is_abandoned[slot_of[target[sequence_of[slot]]]] = false;
               is_free[slot_of[target[sequence_of[slot]]]] = true
           :: else
           fi;
#endif
           is_free[slot] = true
       }
    :: d_step { !(is_abandoned[slot] && is_late_reply_there(slot)) -> skip }
    fi
}
inline sweep_all() {
#ifndef NO_SWEEP
    sweep(0);
    sweep(1)
#else
    skip
#endif
}

/* The request's line is written, its sequence released. `how`: kCall or kCancel. */
inline post(slot, how) {
    is_free[slot] = false;
    posted++;
    sequence_of[slot] = posted;
    kind[posted] = how;
    slot_of[posted] = slot;
    assert(posted <= taken + LINES) /* the server has taken what lay in that line */
}

inline abandon(slot) { is_abandoned[slot] = true }

inline give_up(slot) {
    d_step {
#ifdef RELEASE_AT_GIVE_UP
        is_free[slot] = true
#else
        abandon(slot);
#ifdef FREE_ARGUMENTS_AT_GIVE_UP
        free_arguments(sequence_of[slot])
#endif
#endif
    };
    /* A request to cancel, if there is a slot for it; nobody waits for its reply. */
    if
    :: true
    :: atomic {
           posted < REQUESTS && (is_free[0] || is_free[1]) ->
           other = (is_free[0] -> 0 : 1);
           target[posted + 1] = sequence_of[slot];
           post(other, kCancel);
           abandon(other);
           other = 0
       }
    fi
}

active proctype client() {
    byte slot;
    byte other;
    do
    :: posted < REQUESTS ->
        sweep_all();
        /* With half of the slots given up the answer is VMRPC_BUSY: the caller tries again later. */
        atomic {
            (is_free[0] || is_free[1]) && !(is_abandoned[0] && is_abandoned[1]) ->
            slot = (is_free[0] -> 0 : 1);
            post(slot, kCall);
            holds_arguments[posted] = true
        };
        if
        :: is_reply_there(slot) -> take_reply(slot)
        :: true -> give_up(slot) /* the time limit, at any time; also one-way: nobody waits */
        fi
    :: else -> break
    od;
    answered == REQUESTS;
    sweep_all();
    d_step {
        assert(is_free[0] && is_free[1]);
        for (slot : 1 .. REQUESTS) {
            assert(!has_block[slot] && !holds_arguments[slot])
        }
    }
}

/* One of the requests that are taken and not answered: functions return in any order. */
inline pick(n) {
    atomic {
        select (n : 1 .. REQUESTS);
        if
        :: n <= taken && !is_answered[n] && kind[n] == kCall
        :: else -> n = 0
        fi
    }
}

inline answer(n) {
    d_step { /* results, in the caller's memory and in the reply */
        assert(!is_free[slot_of[n]] && sequence_of[slot_of[n]] == n);
        assert(kind[n] == kCancel || holds_arguments[n]);
#ifdef SEQUENCE_BEFORE_BODY
        reply_sequence[slot_of[n]] = n
    };
    d_step {
#endif
        reply_block[slot_of[n]] = NONE;
        if
        :: with_block -> has_block[n] = true; reply_block[slot_of[n]] = n
        :: else
        fi
    };
    d_step {
        reply_sequence[slot_of[n]] = n;
        is_answered[n] = true;
        answered++;
        with_block = false
    }
}

active proctype server() {
    byte n;
    bool with_block;
end:
    do
    :: taken < posted ->
        taken++;
        if
        :: kind[taken] == kCancel ->
            n = taken;
#ifdef CANCEL_ANSWERS_TWICE
            if
            :: !is_answered[target[n]] ->
                n = target[n];
                answer(n);
                d_step {
                    is_answered[n] = false;
                    answered--;
                    n = taken
                }
            :: else
            fi;
#endif
            answer(n);
            n = 0
        :: else
        fi
    :: pick(n);
        if
        :: n != 0 ->
            if
            :: with_block = true /* what it returns lies in the heap */
            :: true /* an error, a value, or it was cancelled */
            fi;
            answer(n);
            n = 0
        :: else
        fi
    od
}
