#!/usr/bin/env bash
# documented.sh BUILD CC: what docs/VMS.md says in its section "In short" is followed word by word, its commands taken from the page: a VM with
# the stock kernel and Debian's systemd and udev, where root does what is said there once, and an ordinary user then gets a first call.
# Without the installed udev rule that user gets none, in the same guest. Replaced in the commands are only the names and places that they leave to their reader.
set -euo pipefail
build=$1 cc=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
vm_dir=${VMRPC_VM_DIR:-$source/build/vm}
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 143' TERM HUP
user=ann
unset VMRPC_SENTINEL VMRPC_DOORBELL # they are to be found where they were installed

fail() {
    echo "documented: $*" >&2
    exit 1
}

# --- What the page says

# Its section's blocks of commands, each in a file; a line that ends in a backslash goes on in the next.
in_short() {
    awk '/^## / { inside = $0 == "## In short" } inside' "$source/docs/VMS.md"
}
in_short | awk -v folder="$work" '/^    / { if (!block) file = folder "/block" ++count; block = 1; sub(/^    /, ""); print > file; next } { block = 0 }'
[[ -s $work/block1 && -s $work/block2 && ! -e $work/block3 ]] || fail "the section has other blocks of commands than one for each side"
mapfile -t on_host < <(sed -e ':a' -e '/\\$/N; s/\\\n *//; ta' "$work/block1" | sed "s|/run/mean|$work/service|g")
((${#on_host[@]} == 3)) || fail "the host's block has ${#on_host[@]} commands, not three"
first_call=$(in_short | sed -n 's/.*from then on, as that user: `\([^`]*\)`.*/\1/p')
doctor=$(in_short | sed -n 's/.*On either side \*\*`\([^`]*\)`.*/\1/p')
[[ -n $first_call && -n $doctor ]] || fail "the page does not say what the user runs"

# --- What is installed, and the service's programs: README's

DESTDIR=$work/stage cmake --install "$build" --prefix /usr >"$work/install.log"
(cd "$work" && awk -f "$source/tests/readme/samples.awk" "$source/README.md")
for side in server client; do
    "$cc" -std=c11 -I "$work/stage/usr/include" -I "$work" "$work/$side.c" -o "$work/mean_$side" -L "$work/stage/usr/lib" -lvmrpc
done
export PATH=$work/stage/usr/bin:$PATH LD_LIBRARY_PATH=$work/stage/usr/lib

# --- The guest's disk, which is in memory

# Programs of that system, run here by its own loader and libraries.
of_guest() { # PROGRAM NAME ARGUMENTS…
    local lib=$vm_dir/userland/usr/lib/x86_64-linux-gnu
    "$lib/ld-linux-x86-64.so.2" --library-path "$lib" --argv0 "$2" "$vm_dir/userland/usr/bin/$1" "${@:3}"
}

make_disk() { # FILE FOLDER…: the folders' contents
    local folder
    for folder in "${@:2}"; do
        (cd "$folder" && find . -print0 | of_guest cpio cpio --null --create --format=newc --owner=0:0 --quiet)
    done >"$1"
}

# What the test adds: the kernel's modules (not those for networks, displays and the like, which take time to load), what root is to type and when, and what is to be installed.
added=$work/added
version=$(<"$vm_dir/cloud/version")
modules=$added/usr/lib/modules/$version
mkdir -p "$modules" "$added/etc/systemd/system" "$added/documented"
(cd "$vm_dir/cloud/modules" && cp --parents -r modules.* kernel/{lib,virt} kernel/net/vmw_vsock \
    kernel/drivers/{acpi,char,dax,iommu,nvdimm,vfio,virtio} "$modules" 2>"$work/cp.log") || true # kernels differ in what they have built in
of_guest kmod depmod -b "$added/usr" "$version"
cp -r "$work/stage" "$work/mean_client" "$work/block2" "$here/documented_guest.sh" "$added/documented"
sed -i "s/\<USER\>/$user/g" "$added/documented/block2"
printf 'user=%q\nfirst_call=%q\ndoctor=%q\n' "$user" "$first_call" "$doctor" >"$added/documented/words"
printf '%s:x:1000:1000::/home/%s:/bin/bash\n' "$user" "$user" | cat "$vm_dir/userland/etc/passwd" - >"$added/etc/passwd"
printf '%s:x:1000:\n' "$user" | cat "$vm_dir/userland/etc/group" - >"$added/etc/group"
echo documented >"$added/etc/hostname"
echo 00000000000000000000000000000001 >"$added/etc/machine-id" # without one systemd takes this for a first boot, and asks things
# What has nothing to do with devices, modules or groups is not started: under emulation each program takes a good part of a second.
for unit in systemd-{random-seed,update-utmp,journal-flush,remount-fs,sysctl}.service modprobe@{configfs,dm_mod,drm,fuse,loop}.service \
    dev-{hugepages,mqueue}.mount sys-kernel-{config,debug,tracing}.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
    ln -s /dev/null "$added/etc/systemd/system/$unit"
done
mkdir "$added/etc/systemd/system-generators"
for generator in "$vm_dir"/userland/usr/lib/systemd/system-generators/*; do
    ln -s /dev/null "$added/etc/systemd/system-generators/${generator##*/}"
done
cat >"$added/etc/systemd/system/documented.service" <<'UNIT'
[Unit]
Requires=basic.target
After=basic.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/bash /documented/documented_guest.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=120
UNIT

# --- The host

eval "${on_host[0]}" >"$work/printed" 2>&1 || fail "${on_host[0]}: $(<"$work/printed")"
cd "$work"
eval "${on_host[1]}" 2>"$work/server.log"
server=$!
for ((i = 0; i < 500; i++)); do
    [[ ! -S $work/service/web1.doorbell ]] || break
    kill -0 "$server" 2>/dev/null || fail "the service has ended: $(<"$work/server.log")"
    sleep 0.02
done

# The page's words, with those in place of `…` that a disk and a console take. Without KVM what it says about emulation.
qemu=${on_host[2]}
if [[ ! -w /dev/kvm ]] || ! grep -qwE 'vmx|svm' /proc/cpuinfo; then
    emulated=$(sed -n 's/^- Under emulation (no KVM).*but `\([^`]*\)`.*/\1/p' "$source/docs/VMS.md")
    [[ $emulated == *-accel\ tcg* && $qemu == *'-accel kvm,kernel-irqchip=split'* ]] || fail "the page's words for emulation, or KVM, are not found"
    qemu=${qemu/-accel kvm,kernel-irqchip=split/$emulated}
fi
[[ $qemu == *' …' ]] || fail "the page's QEMU command does not end in …"
qemu=${qemu% …}

make_disk "$work/disk" "$vm_dir/userland" "$added"
kernel_words='console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check mitigations=off rcupdate.rcu_expedited=1 rdinit=/sbin/init'
kernel_words+=' systemd.unit=documented.service systemd.show_status=0'
eval "setpriv --pdeathsig KILL timeout 150 setpriv --pdeathsig KILL $qemu" -nodefaults -display none -no-reboot -serial stdio \
    -kernel "$vm_dir/cloud/vmlinux" -initrd "$work/disk" -append '"$kernel_words"' >"$work/console" 2>"$work/error" </dev/null ||
    fail "QEMU: status $?: $(cat "$work/console" "$work/error" "$work/server.log")"
tr -d '\r' <"$work/console" >"$work/said"

# What was said, of each pass by itself.
sed '/^installed, doctor: /q' "$work/said" >"$work/installed"
sed '1,/^installed, doctor: /d' "$work/said" >"$work/without"
said() { # PASS PATTERN…
    local pattern
    for pattern in "${@:2}"; do
        grep -qE -- "$pattern" "$work/$1" || fail "$1: no '$pattern' in: $(cat "$work/said" "$work/error" "$work/server.log")"
    done
}
said installed '^installed, root: status 0$' '^mean: 499999\.500000$' '^installed, first call: status 0$' '^ok +memory +/dev/dax0\.0: ' \
    '^ok +doorbell +ivshmem .*, driver vfio-pci, .*: rings, and is rung by interrupts' '^installed, doctor: status 0$'
! grep -E '^error ' "$work/installed" || fail "the doctor finds errors in that guest"
said without '^without the rule, root: status 0$' '/dev/dax0\.0' '^without the rule, first call: status 1$' \
    '^error +memory +/dev/dax0\.0: .* which user [0-9]+ may not open' '^without the rule, doctor: status 1$'
! grep '^mean: ' "$work/without" || fail "without the udev rule there was a call as well"
[[ -z ${DOCUMENTED_SHOW:-} ]] || cat "$work/said" "$work/server.log"
