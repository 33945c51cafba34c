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

tool=fetch_kernel
. "$(dirname "${BASH_SOURCE[0]}")/fetch_package.bash"

flavour=${1:-cloud}
case $flavour in
    cloud) meta=linux-image-cloud-amd64 ;;
    generic) meta=linux-image-amd64 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && fail "unknown flavour '$flavour'" ;;
esac

begin "$flavour" vmlinux

# The meta package's name is stable, the version in its dependency's name moves.
package_name() {
    apt-cache "$@" depends "$meta" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }'
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

fetch "$meta"
mkdir out
unpack_kernel root/boot/vmlinuz-*
modules=$(echo root/lib/modules/*)
basename "$modules" >out/version
mv "$modules" out/modules
mv root/boot/config-* out/config
finish out
say "kernel $(cat "$target/version") is in $target"
