#!/bin/bash
# command.sh VMRPC SERVER: the command shows what a server says, in each of its ways, and fails with a reason where there is none.
set -euo pipefail
command=$1 server=$2
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
address=local:$folder/server.sock
"$server" "$address" >"$folder/said" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
for ((i = 0; i < 1000; i++)); do
    grep -q ready "$folder/said" && break
    sleep 0.01
done
"$command" stat "$address" >"$folder/tables"
grep -q '^conformance::add ' "$folder/tables" || { cat "$folder/tables" && exit 1; }
"$command" stat "$address" --json >"$folder/json" # whole: grep -q would end the pipe, and with it the command, early
grep -q '"name": "conformance::add"' "$folder/json"
"$command" stat "$address" --prometheus >"$folder/prometheus"
grep -q '^vmrpc_function_calls_total{function="conformance::add"} 0$' "$folder/prometheus"
grep -q '^# TYPE vmrpc_connections gauge$' "$folder/prometheus"
"$command" top "$address" --interval 0.1 --rounds 2 >"$folder/top"
grep -c 'for each second' "$folder/top" | grep -qx 4
if "$command" stat "local:$folder/nobody" 2>"$folder/error"; then exit 1; fi
grep -q VMRPC_NO_SERVER "$folder/error"
if "$command" stat "$address" --json --prometheus >/dev/null 2>&1; then exit 1; fi
if "$command" >/dev/null 2>&1; then exit 1; fi
