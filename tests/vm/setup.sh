#!/bin/bash
# setup.sh VMRPC-VM VMRPC SERVER PROBE SENTINEL DIST: what `vmrpc qemu-args` prints boots, the guest finds the memory that the host has, and
# with what dist/ installs an unprivileged member of group vmrpc uses it. Two guests: virtio-pmem without a vIOMMU, nvdimm with one. Each
# also has the device of a service with memory=bar.
set -euo pipefail
vm=$1 vmrpc=$2 server=$3 probe=$4 sentinel=$5 dist=$6
udev=${VMRPC_VM_DIR:-$(dirname "${BASH_SOURCE[0]}")/../../build/vm}/userland
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
"$server" "ivshmem:$folder/bar.doorbell" >"$folder/said" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
segment=$((32 << 20)) data=$((2 << 20)) user=1000 group=4711

fail() {
    echo "setup: $*" >&2
    exit 1
}

printf 'root:x:0:\nvmrpc:x:%d:\n' $group >"$folder/group"
for ((i = 0; i < 1000; i++)); do
    ! grep -qs ready "$folder/said" || break
    sleep 0.01
done

write_at() { printf %s "$2" | dd of="$memory" bs=8 seek=$(($1 / 8)) conv=notrunc status=none; }
read_at() { dd if="$memory" bs=8 skip=$(($1 / 8)) count=1 status=none; }

# What udev and its rules take, and nothing else: no other rule gives a device to anybody.
in_guest=(--file "$udev/bin/udevadm=/bin/udevadm" --file "$udev/bin/udevadm=/bin/systemd-udevd"
    --file "$dist/60-vmrpc.rules=/usr/lib/udev/rules.d/60-vmrpc.rules" --file "$folder/group=/etc/group"
    --file "$sentinel=/vmrpc-sentinel" --env VMRPC_SENTINEL=/vmrpc-sentinel --file "$vmrpc=/bin/vmrpc" --file "$probe=/bin/probe")
for program in sh grep chgrp chmod; do
    in_guest+=(--file "$(command -v $program)=/bin/$program")
done
for module in virtio_pci virtio_console virtio_pmem nfit nd_pmem dax_pmem device_dax $(grep -v '^#' "$dist/modules-load.conf"); do
    in_guest+=(--module "$module")
done

boot() { # NAME DEVICE BELL [VMRPC-VM OPTIONS…]: BELL: a file that is the group's, and its mode
    local name=$1 words=() word bell=$3
    memory=$folder/$name.mem
    words=($("$vmrpc" qemu-args "vm:$folder?ring=serial" --name "$name" --size $segment --device "$2" --ram 256M 2>/dev/null)
        $("$vmrpc" qemu-args "vm:$folder?memory=bar" --name "$name" 2>/dev/null))
    write_at $data 'is host1'
    write_at $((data + segment - 8)) 'is host2'
    # The device is root's alone; with udev it is the group's, and of the user only as a member.
    "$vm" --limit 100 "${in_guest[@]}" "${@:4}" "${words[@]/#/--qemu-arg=}" \
        /bin/probe owner /dev/dax0.0 0 600 ';' \
        /bin/systemd-udevd --daemon ';' /bin/udevadm trigger --action=add ';' /bin/udevadm settle --timeout=30 ';' \
        /bin/probe owner /dev/dax0.0 $group 660 ';' /bin/probe owner $bell ';' \
        /bin/sh -c "for port in /dev/vport*p[1-4]; do /bin/probe owner \$port $group 660 || exit 1; done" ';' \
        /bin/probe as $user $group /bin/probe whole-dax $segment ';' \
        /bin/probe as $user $group /bin/vmrpc doctor ';' \
        /bin/sh -c "! /bin/probe as $user $user /bin/vmrpc doctor" >"$folder/$name.said" 2>"$folder/error" ||
        fail "guest $name: status $?: $(cat "$folder/$name.said" "$folder/error")"
    [[ $(read_at $((data + 8))) == 'a guest1' ]] || fail "the guest's first word is not in $memory"
    [[ $(read_at $((data + segment - 16))) == 'a guest2' ]] || fail "the guest's last word is not in $memory"
}

said() { # NAME PATTERN…
    local pattern
    for pattern in "${@:2}"; do
        grep -qE -- "$pattern" "$folder/$1.said" || fail "no '$pattern' in: $(<"$folder/$1.said")"
    done
}

boot plain virtio-pmem "/sys/bus/pci/devices/0000:00:03.0/resource2 $group 660"
said plain '^seen as a guest: it has devices for vmrpc \(QEMU Standard PC' \
    '^warning +memory +/dev/dax0.0: 32 MiB, uuid [0-9a-f-]{36}, with no vmrpc segment in it' \
    '^error +memory +/dev/dax0.0: .* which user 1000 may not open' \
    '^warning +doorbell +ivshmem 0000:00:03.0, no driver, through sysfs: rings' \
    '^error +doorbell +ivshmem 0000:00:03.0, no driver, whose resource0 and resource2 user 1000 may not open' \
    '^ok +modules, memory +virtio_pmem loaded, nd_pmem loaded, dax_pmem loaded, device_dax loaded' '^warning +vIOMMU +none' \
    '^ok +ports +vport[0-9]+p1, vport[0-9]+p2, vport[0-9]+p3, vport[0-9]+p4, for' '^error +ports +/dev/vport.* which user 1000 may not open'
grep -q "$("$vmrpc" qemu-args "vm:$folder?ring=serial" --name plain --json | sed -n 's/.*"uuid": "\(.*\)",/\1/p')" "$folder/plain.said" ||
    fail "the guest sees another uuid: $(<"$folder/plain.said")"

boot iommu nvdimm "/dev/vfio/2 $group 660" --iommu
said iommu '^warning +memory +/dev/dax0.0: 32 MiB, uuid' '^ok +doorbell +ivshmem .*, driver vfio-pci, through /dev/vfio/' \
    '^error +doorbell +ivshmem .*, whose /dev/vfio/[0-9]+ user 1000 may not open' \
    '^ok +modules, doorbell +vfio-pci loaded, vfio_iommu_type1 loaded' '^ok +vIOMMU +[1-9][0-9]* groups'
