#!/usr/bin/env bash
# Usage: demo_small.sh VMRPC_DEMO. With little input all is equal, as the exit status, the table and the JSON say; the same with
# server and client started apart, and the echo over TCP.
set -euo pipefail
demo=$1
. "$(dirname "${BASH_SOURCE[0]}")/examples_demo_lib.bash"
export TMPDIR=$work

value() { # JSON KEY
    sed -nE "s/^ *\"$2\": \"?([^\",]*)\"?,?\$/\1/p" "$1" | sort -u
}

check() { # JSON FILES
    [[ $(value "$1" equal) == true ]] || fail "something differs: $(<"$1")"
    [[ $(value "$1" implicit_copies) == 0 ]] || fail "something was copied: $(<"$1")"
    [[ $(value "$1" files) == *"$2"* ]] || fail "not $2 files: $(<"$1")"
    [[ $(grep -c '"kind":' "$1") == 9 ]] || fail "not nine lines for the kinds of data: $(<"$1")"
}

printf 'one\ntwo\n' >"$work/two-lines"
: >"$work/empty"
"$demo" --local --json "$work/local.json" "$work/two-lines" "$work/empty" /proc/self/status >"$work/table"
check "$work/local.json" 3
grep -q 'Everything is equal' "$work/table" || fail "the table does not say so: $(<"$work/table")"
[[ -z $(find "$work" -name 'vmrpc-demo-*') ]] || fail "a folder is left: $(find "$work")"

start_server "$demo" serve --address "local:$work/demo.sock" --echo-tcp 0
echo_place=$(sed 's/.*echo at //' "$work/server.log")
"$demo" client --address "local:$work/demo.sock" --echo-tcp "$echo_place" --json "$work/apart.json" "$work/two-lines" >/dev/null
check "$work/apart.json" 1
[[ $(value "$work/apart.json" echo) == TCP_NODELAY ]] || fail "no TCP echo: $(<"$work/apart.json")"
stop_server
[[ -z $(find "$work" -type s) ]] || fail "a socket is left: $(find "$work" -type s)"
