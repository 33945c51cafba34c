#!/bin/bash
# bench_vm.sh VMRPC-BENCH-VM: the benchmark's shortest run has a figure for each of its keys, in each of its combinations.
set -euo pipefail
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$1" --quick --rounds 1 --limit 300 --json "$folder/vm.json"
found=" $(sed -n '/^  "combinations": {$/,/^  }/s/^    "\([a-z_]*\)": {$/\1/p' "$folder/vm.json" | paste -sd ' ') "
for combination in dax_{doorbell,vsock,poll} bar_{doorbell,poll}; do
    [[ $found == *" $combination "* ]] || { echo "no $combination among$found" && exit 1; }
done
for combination in $found; do
    part=$(sed -n "/^    \"$combination\": {\$/,/^    }/p" "$folder/vm.json")
    for key in {spin,ring,floor,tcp}_ns{,_p99} connect_ns spin_vs_{floor,tcp} ring_vs_tcp {bytes,fixed,variable}_{1000,100000}_mb_s \
        {waiting,connected}_{guest,host}_cpu_percent; do
        grep -Eq "^      \"$key\": [0-9.]+,?$" <<<"$part" || { echo "no figure for $key of $combination" && exit 1; }
    done
    [[ $combination != *_doorbell ]] || grep -q '^      "has_vfio": true,$' <<<"$part"
done
grep -Eq '^  "network": "(tap|slirp)",$' "$folder/vm.json"
grep -Eq '^  "emulated": (true|false),$' "$folder/vm.json"
grep -Eq '^  "complete": true,$' "$folder/vm.json"
