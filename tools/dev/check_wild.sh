#!/usr/bin/env bash
# What a peer wrote becomes an address in one place, layout::tame() (src/layout/wild.hpp); a guest-physical address in GuestMemory. Refuses code
# that makes one elsewhere: a text search, not a proof, for what a hurried change would write. Comments are not looked at.
#   check_wild.sh [FOLDER]   of sources; src by default
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../../src}"

# Offsets that are this side's own: a private plan's, of constants, of an Extent that is private and therefore trusted, of a memory file.
own='([a-z_]+[.]|[a-z_]+->)*(plan(_|\(\))?[.][a-z_]+|plan\.[a-z_]+|data_?(\(\))?[.]offset|range_?[.]offset|part[.]offset|segment\(\)[.]arena\(\)[.]offset|arena\(\)[.]offset)'
own+='|share_of\(|layout::k[A-Z]|k[A-Z]|[a-z_]+->offset|plan[.]arena_offset\('
# What was copied from a segment, or is loaded from one.
wild='(body|wire|claim|offer|hello|run|reply|request)(_|\(\))?[.](body[.])?[a-z_]*(offset|address|slot|index|count|bytes)\b|[.]load_(relaxed|acquire)\(\)|untrusted\(\)'

failed=0
code() { # FILES…: their lines as FILE:LINE:TEXT, without comments
    grep -rnE --include='*.cpp' --include='*.hpp' '' "$@" | sed -E 's#([^:])//.*#\1#; /^[^:]*:[0-9]+: *\/\//d'
}
refuse() { # WHAT, NAMED FILES (a regex): lines on stdin that are in others
    local found
    found=$(grep -vE "^($2):" || true)
    [[ -n $found ]] || return 0
    printf '%s\n%s\n' "$1" "$found" >&2
    failed=1
}
lines=$(code .  | sed 's#^\./##')

refuse 'An address from a base and an offset that is not known to be this side'\''s own: use layout::tame() (wild.hpp), or a private Extent.' \
    'layout/(wild\.hpp|plan\.cpp)|heap/cached_arenas\.cpp|call/client_lane\.cpp|transport/vm/doorbell\.cpp|transport/vm/vsock/guest_memory\.cpp|stack/memory\.cpp|transport/mapping\.cpp|transport/vm/ram/(guest_pages|ram_segment)\.cpp' \
    < <(grep -E '(segment_?(\(\))?|base_?(\(\))?) \+ ' <<<"$lines" | grep -vE "(segment_?(\(\))?|base_?(\(\))?) \+ ($own)" || true)
refuse 'A cast of what a peer wrote: use layout::tame() (wild.hpp).' 'layout/wild\.hpp' \
    < <(grep -E "reinterpret_cast<[^>]*[*&]>\(.*($wild)" <<<"$lines" || true)
refuse 'An index that a peer wrote: check it with Wild::below() (wild.hpp) in one of the files that do.' 'call/server_lane\.(cpp|hpp)|call/callback_lane\.cpp|layout/wild\.hpp' \
    < <(grep -E "\[[^]]*($wild)[^]]*\]" <<<"$lines" || true)
refuse 'Wild::untrusted() is for messages and for comparisons with private values, in the files that have the checks.' \
    'layout/wild\.hpp|heap/remote_frees\.cpp|call/server_lane\.cpp' < <(grep -F 'untrusted()' <<<"$lines" || true)
exit "$failed"
