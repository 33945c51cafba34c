#!/bin/bash
# bench_guest.sh VMRPC-BENCH-GUEST: the benchmark's shortest run has a figure for each of its keys.
set -euo pipefail
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$1" --quick --rounds 1 --limit 120 --json "$folder/guest.json"
for key in spin_ns spin_ns_p99 floor_ns spin_vs_floor tcp_ns tcp_vs_spin connect_ns {bytes,fixed,variable}_{100,10000,100000}_mb_s; do
    grep -Eq "^  \"$key\": [0-9.]+,?$" "$folder/guest.json" || { echo "no figure for $key" && exit 1; }
done
grep -Eq '^  "emulated": (true|false),$' "$folder/guest.json"
grep -Eq '^  "complete": true,$' "$folder/guest.json"
