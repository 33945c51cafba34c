#!/bin/bash
# bench_heap.sh VMRPC-BENCH-HEAP: the benchmark's shortest run has a figure for each of its keys.
set -euo pipefail
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$1" --quick --rounds 1 --limit 100 --json "$folder/heap.json"
for key in {pair_{16,256,4096,65536},list,list_freed}_{ns,vs_mimalloc} boost_vs_{pair_{16,256,4096,65536},list,list_freed} \
    monotonic_list_vs_mimalloc monotonic_list_freed_vs_mimalloc local_free_ns remote_free_ns remote_vs_local_free threads_vs_one connect_ns connect_resident_bytes \
    floor_ns call_value_{256,4096}_ns call_{outside,stack,borrowed,heap}_{256,4096,65536}_ns; do
    grep -Eq "^  \"$key\": [0-9.]+,?$" "$folder/heap.json" || { echo "no figure for $key" && exit 1; }
done
grep -Eq '^  "complete": true,$' "$folder/heap.json"
