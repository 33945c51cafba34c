#!/usr/bin/env bash
# Usage: fetch_userland.sh. Fetches a small Debian system (26 MB) from Debian's archive into build/vm/userland (VMRPC_VM_DIR overrides
# build/vm), without installing it: systemd, udev and what they depend on, as a guest's root folder. No package's scripts are run; what they
# would have made is made here.
set -euo pipefail
tool=fetch_userland
. "$(dirname "${BASH_SOURCE[0]}")/fetch_package.bash"

packages=(base-files base-passwd bash coreutils cpio dash grep kmod mount passwd sed systemd-sysv udev util-linux
    libboost-context1.81.0 libfmt9 libspdlog1.10 libstdc++6)

# All that they depend on, which apt finds by taking this system to have no package at all.
download() { # APT OPTIONS…
    : >status
    mkdir -p archives/partial
    say "downloading ${packages[*]} and what they depend on ..."
    apt-get "$@" -o "Dir::State::status=$work/status" -o "Dir::Cache::archives=$work/archives" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only -qq -y install "${packages[@]}" >apt.log 2>&1 || return 1
    mv archives/*.deb .
}

# /bin, /lib, … are links into /usr on every Debian 12 system, which is their packages' affair only when they are installed.
merge_usr() {
    local folder
    for folder in bin sbin lib lib64; do
        mkdir -p "usr/$folder"
        cp -a "$folder/." "usr/$folder/"
        rm -rf "$folder"
        ln -s "usr/$folder" "$folder"
    done
}

begin userland usr/bin/udevadm
fetch "a small system"
cd root
merge_usr
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
rm -rf usr/share/{doc,info,locale,man} usr/lib/x86_64-linux-gnu/{gconv,perl-base}
cd ..
finish root
say "the system is in $target"
