/* Memory as processors have it: a store waits in its processor's store buffer, where only that processor sees it, and
 * reaches memory at some later time, before or after those made earlier (PSO; on x86-64, TSO, they keep their order).
 * Spin by itself would let every process see each store at once, and no model could tell a fence from nothing.
 *
 * Each word has one writer, as in the shared region; WORDS says how many there are. A writer keeps its words' values in
 * variables of its own, so that it need not look into its buffer. A store that nothing of the same process loads
 * behind it, up to a fence or a system call, needs no buffer: being late is the same as not having run yet. */

#define NOTHING 255

byte memory[WORDS];
byte buffered[WORDS] = NOTHING;

/* Replaces what waits there: as if both had reached memory one right after the other. */
#define store(word, value) buffered[word] = value
/* What a full fence, or a lock in the kernel, waits for. */
#define settled(word) (buffered[word] == NOTHING)

/* One process for each word, so these have to be the first that a model declares: their numbers are the words. */
active [WORDS] proctype store_buffer() {
end:
    do
    :: d_step {
           !settled(_pid) -> memory[_pid] = buffered[_pid];
           buffered[_pid] = NOTHING
       }
    od
}
