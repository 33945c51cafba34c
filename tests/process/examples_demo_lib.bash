# For the tests of the examples and the demo: a folder of their own, which must be empty of sockets when they end, and servers.
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
server_pid=

leave() {
    [[ -z $server_pid ]] || kill -KILL "$server_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

wait_until() { # SECONDS COMMAND…
    local tries=$(($1 * 50))
    until "${@:2}"; do
        ((tries-- > 0)) || return 1
        sleep 0.02
    done
}

start_server() { # PROGRAM ARGUMENTS…: returns when it says that it is serving
    "$@" >"$work/server.log" &
    server_pid=$!
    wait_until 10 grep -q '^serving at' "$work/server.log" || fail "$1 does not serve"
}

stop_server() { # by SIGTERM; its status must be 0
    local pid=$server_pid
    kill -TERM "$pid"
    server_pid=
    wait "$pid" || fail "the server ended with status $?"
}
