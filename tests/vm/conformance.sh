#!/bin/bash
# conformance.sh VMRPC-VM SENTINEL TEST...: runs a test program in a guest, against the server at $VMRPC_TEST_ADDRESS.
set -euo pipefail
vm=$1 sentinel=$2
shift 2
exec "$vm" --limit 200 --doorbell "${VMRPC_TEST_ADDRESS#ivshmem:},2" --file "$sentinel=/vmrpc-sentinel" \
    --env VMRPC_SENTINEL=/vmrpc-sentinel --env VMRPC_TEST_ADDRESS=ivshmem: "$@"
