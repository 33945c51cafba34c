#!/usr/bin/env bash
# Usage: demo_bad_input.sh VMRPC_DEMO. What cannot be done is said at once, and leaves nothing.
set -euo pipefail
demo=$1
. "$(dirname "${BASH_SOURCE[0]}")/examples_demo_lib.bash"
export TMPDIR=$work
program=("$demo")

refuses() { # PATTERN ARGUMENTS…
    ! "${program[@]}" "${@:2}" >"$work/out" 2>&1 || fail "vmrpc-demo ${*:2} succeeds"
    grep -q -- "$1" "$work/out" || fail "vmrpc-demo ${*:2} does not say '$1': $(<"$work/out")"
    [[ -z $(find "$work" -name 'vmrpc-demo-*') ]] || fail "a folder is left: $(find "$work")"
}

mkdir "$work/nothing"
mkfifo "$work/fifo"
refuses "there is no file $work/missing" --local "$work/missing"
refuses "$work/fifo is neither a regular file nor a folder" --local "$work/fifo"
refuses "no files below $work/nothing" --local "$work/nothing"
refuses "cannot write $work/none/json" --local --json "$work/none/json" /proc/self/status
refuses "cannot connect to local:$work/none.sock" client --address "local:$work/none.sock" /proc/self/status
refuses '"7000" is not an IPv4 address and a port' --local --echo-tcp 7000 /proc/self/status
refuses '--address is required' client /proc/self/status

# Of a guest, before one is booted.
refuses '--echo-tcp is for a client by itself' --echo-tcp 127.0.0.1:7000
refuses 'the device holds 100 MB' --limit-mb 101
program=(env VMRPC_VM_DIR="$work/nothing" "$demo")
refuses "no guest kernel $work/nothing/cloud/vmlinux: run tests/vm/fetch_kernel.sh, or ./run demo"
program=("$(command -v env)" PATH="$work/nothing" "$demo")
refuses 'no qemu-system-x86_64 in PATH.*apt-get install qemu-system-x86.*--local'
