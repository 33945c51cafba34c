#!/usr/bin/env bash
# Usage: examples_hello.sh FOLDER. Every hello client calls every hello server of FOLDER, C, C++ and epoll, and must print the same.
set -euo pipefail
folder=$1
. "$(dirname "${BASH_SOURCE[0]}")/examples_demo_lib.bash"

expected=$'mean: 499.5\ncounter: 42\nsquares: 0 1 4 9 16'
for server in c cpp epoll; do
    start_server "$folder/hello_${server}_server" "local:$work/hello.sock"
    for client in c cpp; do
        got=$("$folder/hello_${client}_client" "local:$work/hello.sock")
        [[ $got == "$expected" ]] || fail "hello_${client}_client with hello_${server}_server printed: $got"
    done
    got=$("$folder/hello_co_await" "local:$work/hello.sock")
    [[ $got == $'sum of squares: 8332500\ncounter: 42' ]] || fail "hello_co_await with hello_${server}_server printed: $got"
    stop_server
    [[ ! -e $work/hello.sock ]] || fail "hello_${server}_server left its socket"
    for client in c cpp; do
        ! "$folder/hello_${client}_client" "local:$work/hello.sock" 2>"$work/error" || fail "hello_${client}_client calls nobody"
        grep -q "$work/hello.sock" "$work/error" || fail "hello_${client}_client does not say where nobody is: $(<"$work/error")"
    done
done

start_server "$folder/hello_callback_server" "local:$work/hello.sock"
got=$("$folder/hello_callback_client" "local:$work/hello.sock")
[[ $got == $'250 of 1000\n500 of 1000\n750 of 1000\n1000 of 1000\nbelow 42: 42' ]] || fail "hello_callback_client printed: $got"
stop_server
