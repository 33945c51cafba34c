#!/bin/bash
# conformance_vm.sh VMRPC-VM VMRPC SENTINEL DOORBELL MEMORY RING TEST...: runs the conformance program in a guest that has this memory and
# this ring, as `vmrpc qemu-args` says, against the server at $VMRPC_TEST_ADDRESS, vm:FOLDER. All of it for the default combination, and with
# VMRPC_TEST_LONG=1; the calls alone for the others.
set -euo pipefail
vm=$1 vmrpc=$2 sentinel=$3 doorbell=$4 memory=$5 ring=$6
shift 6
folder=${VMRPC_TEST_ADDRESS#vm:} device='' guest=() ram=256M
[[ $memory != ram ]] || ram=1G # the processes' own heaps are in it
words=($("$vmrpc" qemu-args "$VMRPC_TEST_ADDRESS?memory=$memory&ring=$ring" --name guest --ram $ram 2>/dev/null))
case $memory in
    dax) guest=(--module virtio_pci --module virtio_pmem --module nd_pmem --module dax_pmem --module device_dax) ;;
    bar) device=bar ;;
    ram) guest=(--module virtio_pci --env VMRPC_TEST_CONNECT_SECONDS=60) ;;
esac
case $ring in
    doorbell) guest+=(--iommu --module vfio-pci --module vfio_iommu_type1 --file "$doorbell=/vmrpc-doorbell" --env VMRPC_DOORBELL=/vmrpc-doorbell) ;;
    serial) guest+=(--module virtio_console) ;;
    vsock)
        guest+=(--module vmw_vsock_virtio_transport)
        [[ $memory == ram ]] || words+=(-object memory-backend-memfd,id=ram,size=256M,share=on -machine memory-backend=ram)
        ;;
esac
# The service makes a VM's sockets when it finds its memory.
for ((i = 0; i < 1000; i++)); do
    [[ $device == bar || -S $folder/guest.poll ]] && break
    sleep 0.01
done
[[ ${VMRPC_TEST_LONG:-} == 1 || $memory$ring == daxdoorbell ]] || set -- "$@" '--gtest_filter=Calls.*:CallsBack.*'
exec "$vm" --limit 280 "${guest[@]}" "${words[@]/#/--qemu-arg=}" --file "$sentinel=/vmrpc-sentinel" \
    --env VMRPC_SENTINEL=/vmrpc-sentinel --env "VMRPC_TEST_ADDRESS=vm:?memory=$memory&ring=$ring" "$@"
