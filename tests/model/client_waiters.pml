/* The threads of one client wait for their replies: one leads, the others follow; one of them has a time limit; the
 * server may die, and close may come at any time. Nobody waits for ever for what has come, and nobody misses a close.
 *
 * Mirrors: src/notify/waiters.cpp wait
 * Mirrors: src/notify/waiters.cpp lead
 * Mirrors: src/notify/waiters.cpp wake_ready_followers
 * Mirrors: src/notify/waiters.cpp leave
 * Mirrors: src/notify/waiters.cpp wake
 * Mirrors: src/notify/waiters.cpp interrupt
 * Mirrors: src/notify/futex.hpp futex_wait
 * Mirrors: src/call/endpoint.hpp must_ring
 * Mirrors: src/transport/rung_word.hpp write
 * Mirrors: src/transport/local/client_link.cpp wait
 * Mirrors: src/transport/local/client_link.cpp interrupt_wait
 *
 * Broken: NO_SERVER_FENCE the server reads the ring-me generation while its reply waits in the store buffer
 * Broken: NO_CLIENT_FENCE the leader looks while its new generation waits in the store buffer
 * Broken: LOOK_BEFORE_ARMING the leader looks first and arms then
 * Broken: SEEN_AFTER_LOOKING the leader takes the word that it sleeps on after its last look: a ring before that is lost
 * Broken: LEADER_DOES_NOT_PROMOTE a leader that leaves hands on to nobody
 * Broken: PROMOTED_IS_NOT_WOKEN it hands on to a follower that sleeps on
 * Broken: RING_WAKES_LEADER_ONLY the leader does not wake followers whose replies are there
 * Broken: CLOSE_WAKES_FOLLOWERS_ONLY interrupt() does not end the sleeper's wait
 * Broken: CLOSE_CHANGES_NO_WORD it wakes who sleeps on the word, but leaves the word: who is about to sleep does so
 *
 * Spare: CLOSE_WAKES_NO_FOLLOWERS interrupt() wakes the leader only, who wakes the next one by leaving, and so on: right, but one after the other
 */

#define WAITERS 2
#define NOBODY 99
#define REPLY(waiter) (waiter)
#define RING_ME WAITERS
#define WORDS 3
#include "memory.pml"

byte posted[WAITERS];  /* sequence of the request that each one waits for; each has a lane of its own */
byte calls[WAITERS];   /* how many it makes */
bool is_timed[WAITERS];
bool has_returned[WAITERS];

/* Of Waiters. */
bool locked;
byte leader = NOBODY;
bool follows[WAITERS];
byte generation;
bool interrupted;

/* Futexes: the followers' private ones, and the one that the leader sleeps on, with its word. */
byte signal[WAITERS];
bool sleeps[WAITERS];
byte rung;
byte sleeper = NOBODY;

bool is_closing; /* the server has died, or somebody closes */

#define is_ready(waiter) (memory[REPLY(waiter)] == posted[waiter])

/* What is done under the mutex is one step. Unlocking is a release: what its thread has stored is in memory then. */
#define is_unlockable (!locked && settled(RING_ME))
/* Under the lock. */
inline wake(waiter) {
    signal[waiter]++;
    sleeps[waiter] = false
}
inline wake_if_ready(waiter) {
    if
    :: follows[waiter] && is_ready(waiter) -> wake(waiter)
    :: else
    fi
}
inline promote(waiter) {
    leader = waiter;
    follows[waiter] = false;
#ifndef PROMOTED_IS_NOT_WOKEN
    wake(waiter)
#endif
}
inline ring(value) {
    rung = value;
    sleeper = NOBODY
}

inline arm() {
    d_step {
        generation++;
        store(RING_ME, generation)
    }
#ifndef NO_CLIENT_FENCE
    ;
    settled(RING_ME)
#endif
}
inline look() {
#ifndef RING_WAKES_LEADER_ONLY
    d_step {
        !locked -> locked = true;
        wake_if_ready(0);
        wake_if_ready(1)
    };
    d_step { settled(RING_ME) -> locked = false }
#else
    skip
#endif
}
inline lead() {
    seen = rung;
#ifndef LOOK_BEFORE_ARMING
    arm();
#endif
    look();
    if
    :: d_step { is_ready(me) || interrupted -> skip }
    :: d_step { !(is_ready(me) || interrupted) -> skip };
#ifdef LOOK_BEFORE_ARMING
        arm();
        settled(RING_ME);
#endif
#ifdef SEEN_AFTER_LOOKING
        seen = rung;
#endif
        if
        :: d_step { rung == seen -> sleeper = me };
            if
            :: sleeper != me
            :: d_step { is_timed[me] -> has_passed = true; sleeper = NOBODY }
            fi
        :: d_step { rung != seen -> skip }
        fi
    fi;
    seen = 0
}

inline follow() {
    if
    :: d_step { signal[me] == seen -> sleeps[me] = true };
        if
        :: !sleeps[me]
        :: d_step { is_timed[me] -> has_passed = true; sleeps[me] = false }
        fi
    :: d_step { signal[me] != seen -> skip }
    fi
}

inline leave() {
    atomic { /* the oldest follower leads then; here any, which is more than can be */
        is_unlockable;
        if
        :: leader != me -> follows[me] = false
        :: else ->
#ifndef LEADER_DOES_NOT_PROMOTE
            if
            :: follows[0] -> promote(0)
            :: follows[1] -> promote(1)
            :: !follows[0] && !follows[1] -> leader = NOBODY
            fi
#else
            leader = NOBODY
#endif
        fi
    }
}

proctype waiter(byte me) {
    byte seen;
    bool has_passed; /* its time limit */
    do
    :: posted[me] < calls[me] && !interrupted ->
        posted[me]++;
        atomic {
            is_unlockable;
            if
            :: leader == NOBODY -> leader = me
            :: else -> follows[me] = true
            fi
        };
        do
        ::  seen = signal[me];
            if
            :: atomic { is_ready(me) || interrupted || has_passed -> seen = 0; break }
            :: atomic { is_timed[me] -> has_passed = true; seen = 0; break }
            :: d_step { !(is_ready(me) || interrupted || has_passed) -> skip };
                if
                :: leader == me -> lead()
                :: leader != me -> follow()
                fi
            fi
        od;
        leave();
        assert(is_ready(me) || interrupted || has_passed);
        if
        :: has_passed -> break /* its slot waits for the late reply */
        :: else
        fi
    :: else -> break
    od;
    has_returned[me] = true
}

inline answer(w) {
    d_step { posted[w] > replied[w] && (w != slow || has_returned[1 - w]) -> replied[w]++; store(REPLY(w), replied[w]) };
#ifndef NO_SERVER_FENCE
    settled(REPLY(w));
#endif
    if
    :: d_step { memory[RING_ME] != rung_for[w] -> rung_for[w] = memory[RING_ME] };
        d_step { settled(REPLY(w)) -> count++; ring(count) }
    :: d_step { memory[RING_ME] == rung_for[w] -> skip }
    fi
}

active proctype server() {
    byte replied[WAITERS];
    byte rung_for[WAITERS]; /* each lane's ring_seen */
    byte count;
    bool may_die;
    byte slow = NOBODY; /* whose function runs for as long as the other one needs: no wake-up of its own helps that one */
    atomic {
        if /* Each with what matters to it: all at once are too many states for a quick run. */
        :: may_die = true; calls[0] = 2; calls[1] = 1
        :: is_timed[0] = true; calls[0] = 1; calls[1] = 2
        :: slow = 0; calls[0] = 1; calls[1] = 2
        fi;
        run waiter(0);
        run waiter(1)
    }
end:
    do
    :: answer(0)
    :: answer(1)
    :: may_die -> is_closing = true; break
    od
}

/* Whoever closes: the housekeeping thread that learns of the server's death, or a thread that finds a violation. */
#define kInterrupted 200 /* the values that close stores to the word are not the server's */
active proctype closer() {
end:
    is_closing;
    interrupted = true;
#ifdef CLOSE_CHANGES_NO_WORD
    sleeper = NOBODY;
#elif !defined(CLOSE_WAKES_FOLLOWERS_ONLY)
    d_step { ring(kInterrupted) };
#endif
#ifndef CLOSE_WAKES_NO_FOLLOWERS
    d_step {
        is_unlockable;
        if
        :: follows[0] -> wake(0)
        :: else
        fi;
        if
        :: follows[1] -> wake(1)
        :: else
        fi
    }
#endif
}
