/* One side frees the other's blocks through a queue that may be full: each block is freed once, and none is lost.
 *
 * Mirrors: src/heap/remote_frees.cpp send
 * Mirrors: src/heap/remote_frees.cpp retry
 * Mirrors: src/heap/remote_frees.cpp deliver
 * Mirrors: src/heap/remote_frees.cpp look_at_head
 * Mirrors: src/heap/remote_frees.cpp fill_queue
 * Mirrors: src/heap/remote_frees.hpp publish
 * Mirrors: src/heap/remote_frees.hpp send_at_once
 * Mirrors: src/heap/remote_frees.cpp drain
 * Mirrors: src/heap/remote_frees.cpp count_unread
 * Mirrors: src/heap/remote_frees.cpp free_one
 *
 * Broken: TAIL_WITHOUT_RELEASE the tail may reach memory before the entries below it
 * Broken: TAIL_BEFORE_ENTRY it is stored before them
 * Broken: HEAD_BEFORE_READING the owner says that it has read entries before it has
 * Broken: FULL_QUEUE_IS_OVERWRITTEN the freer does not look whether there is room
 * Broken: SPILL_IS_NOT_RETRIED what has spilled waits for ever
 * Broken: SPILL_IS_SENT_TWICE what has spilled goes into the queue, and stays in the spill
 */

#define BLOCKS 6
#define ENTRIES 2
#define ENTRY(position) ((position) % ENTRIES)
#define TAIL ENTRIES
#define HEAD (ENTRIES + 1)
#define WORDS 4
#include "memory.pml"

bool is_freed[BLOCKS + 1];
byte freed;

/* The freer's. The order in the spill does not matter, so that it is a number of blocks from `spilled_from` on. */
inline look_at_head() {
    d_step {
        assert(memory[HEAD] >= head && memory[HEAD] <= tail); /* anything else is poison */
        head = memory[HEAD]
    }
}

inline put(block) {
#ifdef TAIL_BEFORE_ENTRY
    store(TAIL, tail + 1);
    settled(TAIL);
#endif
    d_step {
        store(ENTRY(tail), block);
        tail++
    }
}

inline publish() {
#ifndef TAIL_WITHOUT_RELEASE
    (settled(0) && settled(1));
#endif
    store(TAIL, tail)
}

#ifdef FULL_QUEUE_IS_OVERWRITTEN
#define has_room true
#else
#define has_room (tail - head < ENTRIES)
#endif

inline deliver() {
    look_at_head();
    do
    :: spilled != 0 && has_room ->
        put(next - spilled);
#ifdef SPILL_IS_SENT_TWICE
        if
        :: tail > BLOCKS -> spilled--
        :: else
        fi
#else
        spilled--
#endif
    :: d_step { !(spilled != 0 && has_room) -> skip }; break
    od;
    publish()
}

active proctype freer() {
    byte tail;
    byte head;
    byte next = 1;  /* block to free; those before it that are not sent have spilled */
    byte spilled;
    do
    :: next <= BLOCKS ->
        if
        :: spilled == 0 ->
            look_at_head();
            if
            :: has_room -> put(next); publish(); next++
            :: !has_room -> next++; spilled++; deliver()
            fi
        :: spilled != 0 -> next++; spilled++; deliver()
        fi
    :: else -> break
    od;
#ifndef SPILL_IS_NOT_RETRIED
    do
    :: spilled != 0 -> deliver()
    :: else -> break
    od
#endif
}

/* drain(), at any time, until all blocks are back. */
active proctype owner() {
    byte head;
    byte last;
    do
    :: freed < BLOCKS ->
        memory[TAIL] != head;
        last = memory[TAIL];
        assert(last - head <= ENTRIES);
#ifdef HEAD_BEFORE_READING
        store(HEAD, last);
#endif
        do
        :: head < last ->
            d_step {
                assert(memory[ENTRY(head)] >= 1 && memory[ENTRY(head)] <= BLOCKS);
                assert(!is_freed[memory[ENTRY(head)]]);
                is_freed[memory[ENTRY(head)]] = true;
                freed++;
                head++
            }
        :: else -> break
        od;
        store(HEAD, head);
        last = 0
    :: else -> break
    od
}
