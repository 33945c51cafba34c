#!/usr/bin/env bash
# Fetches a guest kernel from Debian's archive into build/vm/FLAVOUR, without installing it.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tests/vm/fetch_kernel.sh [cloud|generic]

Downloads Debian's current kernel through apt (27 MB for cloud, the default; 71 MB for generic, which also has 9p and
Xen dom0), checks it against apt's signed lists, and unpacks into build/vm/FLAVOUR (VMRPC_VM_DIR overrides build/vm):

    vmlinux   the kernel as an ELF file: it boots faster than the compressed image
    modules/  its modules
    config    its build configuration
    version   its version

Needs no root, changes nothing outside that folder, does nothing where the kernel is there already. Several at once
wait for each other. Needs apt, dpkg, flock, and lz4 (cloud) or xz (generic).
TEXT
}

fail() {
    echo "fetch_kernel: $*" >&2
    exit 1
}

say() { echo "fetch_kernel: $*" >&2; }

flavour=${1:-cloud}
case $flavour in
    cloud) meta=linux-image-cloud-amd64 ;;
    generic) meta=linux-image-amd64 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && fail "unknown flavour '$flavour'" ;;
esac

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
vm_dir=${VMRPC_VM_DIR:-$source_dir/build/vm}
target=$vm_dir/$flavour

# Looked at before the lock, so that a user who may only read the folder can use what is there.
[[ -s $target/vmlinux ]] && exit 0
mkdir -p "$vm_dir" || fail "cannot make $vm_dir; set VMRPC_VM_DIR to a folder that you may write"
for tool in apt-get apt-cache dpkg-deb flock dd od; do
    command -v "$tool" >/dev/null || fail "no '$tool' here: this needs a Debian system"
done

exec 9>>"$vm_dir/.lock"
flock 9
[[ -s $target/vmlinux ]] && exit 0
work=$(mktemp -d "$vm_dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cd "$work"

# The meta package's name is stable, the version in its dependency's name moves.
versioned_package() {
    apt-cache "$@" depends "$meta" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }'
}

download() {
    local package
    package=$(versioned_package "$@")
    [[ -n $package ]] || return 1
    say "downloading $package ..."
    apt-get "$@" -qq download "$package" 2>apt.log
}

# The system's own lists may be missing (a minimal image) or stale (the archive dropped that version), and only root may
# refresh them. So refreshed lists are our own and go away with the work folder.
download_with_own_lists() {
    mkdir -p lists/partial cache/archives/partial
    local own=(-o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o Acquire::Languages=none)
    say "reading package lists ..."
    apt-get "${own[@]}" "$@" -qq update 2>apt.log || true # one broken source must not spoil the others
    download "${own[@]}" "$@"
}

# The field at a byte offset of the boot header (Linux Documentation/x86/boot.rst).
header_field() { od -An -t "u$2" -j "$1" -N "$2" "$3" | tr -d ' '; }

# bzImage FILE -> vmlinux: the payload is a compressed stream followed by its uncompressed size in 4 bytes.
unpack_kernel() {
    local sectors start length magic decoder
    sectors=$(header_field $((0x1f1)) 1 "$1")
    start=$(((sectors + 1) * 512 + $(header_field $((0x248)) 4 "$1")))
    length=$(($(header_field $((0x24c)) 4 "$1") - 4))
    dd if="$1" of=payload bs=1M iflag=skip_bytes,count_bytes skip="$start" count="$length" status=none
    magic=$(od -An -tx1 -N4 payload | tr -d ' ')
    case $magic in
        02214c18) decoder=lz4 ;;
        fd377a58) decoder=xz ;;
        28b52ffd) decoder=zstd ;;
        *) fail "unknown kernel compression (payload starts with $magic)" ;;
    esac
    command -v "$decoder" >/dev/null || fail "no '$decoder' here: apt-get install ${decoder/%xz/xz-utils}"
    "$decoder" -dc <payload >out/vmlinux
    [[ $(od -An -tx1 -N4 out/vmlinux | tr -d ' ') == 7f454c46 ]] || fail "the unpacked kernel is no ELF file"
}

# As root apt would download as user _apt, who may not write here.
as_root=()
[[ $EUID -eq 0 ]] && as_root=(-o APT::Sandbox::User=root)
download "${as_root[@]}" || download_with_own_lists "${as_root[@]}" ||
    fail "apt cannot download $meta: $(tail -n 3 apt.log 2>/dev/null || true)"

dpkg-deb -x ./linux-image-*.deb root
mkdir out
unpack_kernel root/boot/vmlinuz-*
modules=$(echo root/lib/modules/*)
basename "$modules" >out/version
mv "$modules" out/modules
mv root/boot/config-* out/config
chmod 755 out
mv -T out "$target"
say "kernel $(cat "$target/version") is in $target"
