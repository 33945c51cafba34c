/* The serving loop goes to sleep while clients post requests, a client connects, and stop() is called: no request and
 * no stop is slept over. Loss of a wake-up shows as an end state in which a process waits for ever.
 *
 * Mirrors: src/call/endpoint.hpp must_ring
 * Mirrors: src/call/client_lane.hpp publish
 * Mirrors: src/call/server_connection.cpp arm
 * Mirrors: src/call/server_connection.cpp pending
 * Mirrors: src/server*.cpp round
 * Mirrors: src/server*.cpp take_news
 * Mirrors: src/server*.cpp announce
 * Mirrors: src/server*.cpp watch
 * Mirrors: src/server*.cpp demote_quiet
 * Mirrors: src/server*.cpp arm_all
 * Mirrors: src/server*.cpp look_at_rings
 * Mirrors: src/server*.cpp stop
 *
 * Broken: NO_CLIENT_FENCE the client reads the ring-me generation while its request waits in the store buffer
 * Broken: NO_SERVER_FENCE arm_all() looks while the new generation waits in the store buffer
 * Broken: NO_DEMOTE_FENCE demote_quiet() does
 * Broken: LOOK_BEFORE_ARMING arm_all() looks first and arms then
 * Broken: DEMOTE_WITHOUT_LOOK demote_quiet() arms and does not look
 * Broken: NO_ADMIT_FENCE watch() looks while the generation of a new connection waits in the store buffer
 * Broken: ADMIT_WITHOUT_LOOK watch() arms it and does not look: its client may have posted before, and did not ring
 * Broken: SAME_GENERATION arming does not make a new generation, so that a lane that has rung does not ring again
 * Broken: STOP_WITHOUT_RING stop() stores its word and does not write to the eventfd
 * Broken: NEWS_WITHOUT_RING announce() does not either
 * Broken: NEWS_BEFORE_RINGS a round takes news first and then the eventfd's event, which may be of later news
 */

#define CLIENTS 2 /* each with a lane on a connection of its own */
#define CONNECTIONS 2

#define SEQUENCE(client) (client)
#define RING_ME(connection) (CLIENTS + connection)
#define WORDS 4
#include "memory.pml"

/* Each is checked with what matters to it: all at once are too many states for a quick run. */
mtype = { kCalls, kNews, kStop };
mtype scenario;
byte calls[CLIENTS]; /* how many each client makes */

byte served[CLIENTS]; /* the last request of each lane that the server has answered */
bool rung[CONNECTIONS]; /* the connections' eventfds, as epoll sees them: edge-triggered */
bool woken;             /* the server's own eventfd */
bool has_news;
bool stopping;
bool over;
byte finished;

#define is_pending(client) (memory[SEQUENCE(client)] != served[client])

proctype client(byte me) {
    byte sequence;
    byte seen; /* this lane's ring_seen */
    do
    :: sequence < calls[me] ->
        d_step { sequence++; store(SEQUENCE(me), sequence) };
#ifndef NO_CLIENT_FENCE
        settled(SEQUENCE(me));
#endif
        if
        :: d_step { memory[RING_ME(me)] != seen -> seen = memory[RING_ME(me)] };
           d_step { settled(SEQUENCE(me)) -> rung[me] = true }
        :: d_step { memory[RING_ME(me)] == seen -> skip }
        fi;
        if
        :: (served[me] == sequence || over)
        :: true /* the next one at once: several in flight */
        fi
    :: else -> break
    od;
    atomic {
        (served[me] == calls[me] || over) -> finished++
    }
}

/* With kNews, connection 1 is there for its client before the server's loop knows of it. */
active proctype housekeeper() {
end:
    scenario == kNews;
    has_news = true;
#ifndef NEWS_WITHOUT_RING
    woken = true
#endif
}

/* With kStop at any time, else when all is done. Not always at any time: a stop would end every wait, a lost one too. */
active proctype stopper() {
    (scenario == kStop || finished == CLIENTS);
    stopping = true;
#ifndef STOP_WITHOUT_RING
    woken = true
#endif
}

/* What follows is the server's; its variables are the server's own. Steps that nobody else can see are one step. */
inline arm(k) {
#ifndef SAME_GENERATION
    generation[k]++;
#else
    generation[k] = 1;
#endif
    store(RING_ME(k), generation[k])
}

inline arm_hot() {
    d_step {
        if
        :: hot[0] -> arm(0)
        :: else
        fi;
        if
        :: hot[1] -> arm(1)
        :: else
        fi
    }
}

/* A new connection is armed, and hot only if its client has posted already: watch(). */
inline take_news() {
    if
    :: d_step { has_news -> has_news = false; admitted[1] = true; found = true; arm(1) };
#ifndef NO_ADMIT_FENCE
        settled(RING_ME(1));
#endif
#ifndef ADMIT_WITHOUT_LOOK
        hot[1] = is_pending(1)
#else
        hot[1] = false
#endif
    :: d_step { !has_news -> skip }
    fi
}

inline poll(k) {
    if
    :: d_step { hot[k] && is_pending(k) -> served[k] = memory[SEQUENCE(k)]; found = true }
    :: d_step { !hot[k] || !is_pending(k) -> skip }
    fi
}

inline demote_quiet(k) {
    d_step { hot[0] && hot[1] -> arm(k) };
#ifndef NO_DEMOTE_FENCE
    settled(RING_ME(k));
#endif
#ifndef DEMOTE_WITHOUT_LOOK
    hot[k] = is_pending(k)
#else
    hot[k] = false
#endif
}

#define look(k) hot[k] = hot[k] && is_pending(k)
#define has_ring(k) (rung[k] && admitted[k])
/* A connection that is hot already stays it: what rang is polled. */
inline take_rings() {
    hot[0] = hot[0] || has_ring(0);
    rung[0] = rung[0] && !admitted[0];
    hot[1] = hot[1] || has_ring(1);
    rung[1] = rung[1] && !admitted[1];
    woken = false
}

inline arm_all() {
#ifndef LOOK_BEFORE_ARMING
    arm_hot();
#ifndef NO_SERVER_FENCE
    (settled(RING_ME(0)) && settled(RING_ME(1)));
#endif
    look(0);
    look(1)
#else
    d_step { was_hot[0] = hot[0]; was_hot[1] = hot[1] };
    look(0);
    look(1);
    d_step { still_hot[0] = hot[0]; still_hot[1] = hot[1]; hot[0] = was_hot[0]; hot[1] = was_hot[1] };
    arm_hot();
    d_step { settled(RING_ME(0)) && settled(RING_ME(1)) -> hot[0] = still_hot[0]; hot[1] = still_hot[1] }
#endif
}

active proctype server() {
    byte generation[CONNECTIONS];
    bool hot[CONNECTIONS];
    bool admitted[CONNECTIONS];
    bool found;
#ifdef LOOK_BEFORE_ARMING
    bool was_hot[CONNECTIONS];
    bool still_hot[CONNECTIONS];
#endif
    atomic {
        if
        :: scenario = kCalls; calls[0] = 2; calls[1] = 1
        :: scenario = kNews; calls[0] = 0; calls[1] = 2
        :: scenario = kStop; calls[0] = 1; calls[1] = 1
        fi;
        admitted[0] = true;
        hot[0] = true;
        admitted[1] = scenario != kNews;
        hot[1] = admitted[1];
        run client(0);
        run client(1)
    }
    do
    ::  found = false;
#ifdef NEWS_BEFORE_RINGS
        take_news();
#endif
        /* Once in a while: look_around(). */
        if
        :: true
        :: d_step { true -> take_rings() }
        :: demote_quiet(0)
        :: demote_quiet(1)
        fi;
#ifndef NEWS_BEFORE_RINGS
        take_news();
#endif
        poll(0);
        poll(1);
        if
        :: stopping -> break
        :: !stopping /* the spin budget has not ended */
        :: d_step { !stopping && !found -> skip };
            arm_all();
            if
            :: d_step { hot[0] || hot[1] -> skip }
            :: d_step { !hot[0] && !hot[1] && (has_ring(0) || has_ring(1) || woken) -> take_rings() }
            fi
        fi
    od;
    over = true
}
