# For fetch_kernel.sh and fetch_userland.sh: packages from Debian's archive into build/vm/NAME, without installing them. Before it is sourced
# `tool` is the script's name for what it says; the functions use and set what is named here.

fail() {
    echo "$tool: $*" >&2
    exit 1
}

say() { echo "$tool: $*" >&2; }

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
vm_dir=${VMRPC_VM_DIR:-$source_dir/build/vm}
target= # the folder that is to be made

# begin NAME FILE: ends the script if NAME is there already, with its FILE. Otherwise the current folder becomes one for work, which goes
# away at the end; several at once wait for each other.
begin() {
    local needed
    target=$vm_dir/$1
    # Looked at before the lock, so that a user who may only read the folder can use what is there.
    [[ ! -s $target/$2 ]] || exit 0
    mkdir -p "$vm_dir" || fail "cannot make $vm_dir; set VMRPC_VM_DIR to a folder that you may write"
    for needed in apt-get apt-cache dpkg-deb flock dd od; do
        command -v "$needed" >/dev/null || fail "no '$needed' here: this needs a Debian system"
    done
    exec 9>>"$vm_dir/.lock"
    flock 9
    [[ ! -s $target/$2 ]] || exit 0
    work=$(mktemp -d "$vm_dir/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    cd "$work"
}

download() { # APT OPTIONS…: what the script's package_name says
    local package
    package=$(package_name "$@")
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

fetch() { # WHAT: the files of what was downloaded are in root/ then
    # As root apt would download as user _apt, who may not write here.
    local as_root=()
    ((EUID != 0)) || as_root=(-o APT::Sandbox::User=root)
    download "${as_root[@]}" || download_with_own_lists "${as_root[@]}" ||
        fail "apt cannot download $1: $(tail -n 3 apt.log 2>/dev/null || true)"
    local package
    for package in ./*.deb; do dpkg-deb -x "$package" root; done
}

finish() { # FOLDER: becomes what was to be made
    chmod 755 "$1"
    mv -T "$1" "$target"
}
