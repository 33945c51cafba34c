#!/usr/bin/env bash
# Usage: demo_guest.sh VMRPC_DEMO. The demo with its client in a guest: all is equal, as the exit status, the table and the JSON
# say; what ends it early is said, and leaves nothing.
set -euo pipefail
demo=$1
. "$(dirname "${BASH_SOURCE[0]}")/../process/examples_demo_lib.bash"
export TMPDIR=$work

value() { # JSON KEY
    sed -nE "s/^ *\"$2\": \"?([^\",]*)\"?,?\$/\1/p" "$1" | sort -u
}

says() { # FILE PATTERN…
    local pattern
    for pattern in "${@:2}"; do
        grep -qE -- "$pattern" "$1" || fail "no '$pattern' in: $(<"$1")"
    done
}

nothing_is_left() {
    [[ -z $(find "$work" -name 'vmrpc-demo-*') ]] || fail "a folder is left: $(find "$work")"
}

check_json() { # JSON FILES
    [[ $(value "$1" equal) == true ]] || fail "something differs: $(<"$1")"
    [[ $(value "$1" implicit_copies) == 0 ]] || fail "something was copied: $(<"$1")"
    [[ $(value "$1" echo) == TCP_NODELAY ]] || fail "no TCP echo: $(<"$1")"
    [[ $(grep -c '"kind":' "$1") == 9 ]] || fail "not nine lines for the kinds of data: $(<"$1")"
    [[ $(grep -E '"files": [0-9]' "$1") =~ $2 ]] || fail "not as many files: $(<"$1")"
    [[ $(grep -A1 '"memory": "' "$1" | grep -oE 'dax|bar|doorbell|poll' | paste -sd ' ') == 'dax doorbell bar doorbell dax poll bar poll' ]] ||
        fail "not the four combinations: $(<"$1")"
    [[ $(grep -oE '"interrupts": [a-z]+' "$1" | cut -d' ' -f2 | paste -sd ' ') == 'true true false false' ]] ||
        fail "a doorbell does not interrupt the guest, or something else does: $(<"$1")"
    [[ $(grep -cE '"connect_ms": [0-9]' "$1") == 4 ]] || fail "not as many connections: $(<"$1")"
    says "$1" '"kernel": "[0-9]' '"run_by": "(KVM|emulation)' '"call_ns": [0-9]' '"echo_to_call": [0-9]'
}

table_is_clean() { # nothing but the table: no progress, and no word of the kernel
    ! grep -E '^\[ *[0-9]+\.[0-9]+\]|vmrpc-demo' "$1" || fail 'these lines are not of the table'
}

# The guest's own files: its kernel's modules, and one without a size.
"$demo" --limit-mb 2 --json "$work/own.json" >"$work/table" 2>"$work/progress" || fail "status $?: $(cat "$work"/{progress,table})"
says "$work/progress" 'booting a guest, run by (KVM|emulation)' 'calling the server'
says "$work/table" '^Client in a guest \(Linux [0-9].*\), server on its host' '^The guest is run by (KVM|emulation)' \
    '^/lib/modules, /proc/kallsyms ' '^variable ' '^null call ' '^1-byte echo, TCP_NODELAY ' '^called through vm:\?memory=dax&ring=doorbell; ' \
    '^memory=dax ring=doorbell .* yes +equal$' '^memory=bar ring=doorbell .* yes +equal$' '^memory=dax ring=poll .* no +equal$' \
    '^memory=bar ring=poll .* no +equal$' 'Everything is equal' 'had booted after'
table_is_clean "$work/table"
check_json "$work/own.json" ' [0-9]{2,},'
nothing_is_left

# Files of this machine, which the guest gets, and one that it has itself.
mkdir "$work/folder"
printf 'one\ntwo\n' >"$work/folder/two-lines"
: >"$work/folder/empty"
"$demo" --json "$work/named.json" "$work/folder" /proc/self/status >"$work/table" 2>"$work/progress" ||
    fail "status $?: $(cat "$work"/{progress,table})"
says "$work/table" "^/host$work/folder, /proc/self/status "
check_json "$work/named.json" ' 3,'
nothing_is_left

# A guest that is not done in time.
! "$demo" --limit-mb 1 --guest-limit 0.5 >"$work/table" 2>"$work/progress" || fail 'half a second suffices?'
says "$work/progress" 'no result from the guest \(timed out\): .*its limit of 500 ms'
nothing_is_left

# SIGINT while it boots, and while the client in it works.
for moment in 'booting' 'LEN 100$'; do
    : >"$work/progress"
    "$demo" --limit-mb 1 >/dev/null 2>"$work/progress" &
    client=$!
    wait_until 60 grep -q "$moment" "$work/progress" || fail "the demo does not come to '$moment': $(<"$work/progress")"
    children=$(cat "/proc/$client"/task/*/children)
    kill -INT "$client"
    status=0
    wait "$client" || status=$?
    ((status == 130)) || fail "interrupted at '$moment', the demo ended with $status: $(<"$work/progress")"
    for child in $children; do
        wait_until 2 test ! -e "/proc/$child" || fail "process $child goes on after an interrupt at '$moment'"
    done
    nothing_is_left
done
