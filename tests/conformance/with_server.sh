#!/bin/bash
# with_server.sh SERVER ADDRESS-SCHEME TEST...: runs a test program against the conformance server in a process of its own.
set -euo pipefail
server=$1 scheme=$2
shift 2
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
address=$scheme:$folder/server.sock
"$server" "$address" >"$folder/said" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
for ((i = 0; i < 1000; i++)); do
    grep -q ready "$folder/said" && break
    kill -0 "$pid" || exit 1
    sleep 0.01
done
VMRPC_TEST_ADDRESS=$address "$@"
