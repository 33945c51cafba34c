#!/usr/bin/env bash
# Usage: demo_interrupt.sh VMRPC_DEMO. SIGINT while it runs between two processes ends both, and leaves no process, socket or folder.
set -euo pipefail
demo=$1
. "$(dirname "${BASH_SOURCE[0]}")/examples_demo_lib.bash"
export TMPDIR=$work

says() { # TEXT
    grep -q "$1" "$work/progress"
}
ended() { # PID
    [[ ! -e /proc/$1 ]]
}

# Once while it reads and calls, once in the middle of the round trips.
for moment in 'reading' 'LEN 10000' 'round trips'; do
    : >"$work/progress"
    "$demo" --local "$demo" >/dev/null 2>"$work/progress" &
    client=$!
    wait_until 30 says "$moment" || fail "the demo does not come to '$moment': $(<"$work/progress")"
    server=$(<"/proc/$client/task/$client/children")
    [[ -n $server ]] || fail 'the demo has no server process'
    kill -INT "$client"
    status=0
    wait "$client" || status=$?
    ((status == 130)) || fail "interrupted at '$moment', the demo ended with $status: $(<"$work/progress")"
    wait_until 2 ended "${server// /}" || fail "the server goes on after an interrupt at '$moment'"
    [[ -z $(find "$work" -name 'vmrpc-demo-*' -o -type s) ]] || fail "left behind at '$moment': $(find "$work")"
done
