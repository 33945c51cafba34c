#!/usr/bin/env bash
# Usage: check.sh BUILD CC CXX. Installs BUILD below itself, then builds and runs a C11 and a C++20 consumer against what was installed,
# by its CMake package and by pkg-config, and looks at what the shared library exports.
set -euo pipefail
build=$1 cc=$2 cxx=$3
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$build/tests/install-work
prefix=$work/prefix
trap 'rm -rf "$work"' EXIT
rm -rf "$work"
mkdir -p "$work"

cmake --install "$build" --prefix "$prefix" >"$work/install.log"
library=$(find "$prefix" -name libvmrpc.so)
export LD_LIBRARY_PATH=${library%/*} PKG_CONFIG_PATH=${library%/*}/pkgconfig

# The address names a socket in a folder of our own, so nobody can listen there.
run() {
    echo "running ${1##*/}"
    "$1" "local:$work/no-server.sock"
}

cmake -S "$source/consumer" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx"
cmake --build "$work/consumer"
for program in consumer_{c,cpp}_{vmrpc,static}; do
    run "$work/consumer/$program"
done

warnings=(-Wall -Wextra -Wpedantic -Werror)
read -ra flags <<<"$(pkg-config --cflags --libs vmrpc)"
"$cc" -std=c11 "${warnings[@]}" "$source/consumer/consumer.c" -o "$work/pkg_config_c" "${flags[@]}"
"$cxx" -std=c++20 "${warnings[@]}" "$source/consumer/consumer.cpp" -o "$work/pkg_config_cpp" "${flags[@]}"
run "$work/pkg_config_c"
run "$work/pkg_config_cpp"

# What a guest's system takes, where it looks for it; and the command runs.
for file in lib/udev/rules.d/60-vmrpc.rules lib/modules-load.d/vmrpc.conf lib/sysusers.d/vmrpc.conf; do
    [[ -s $prefix/$file ]] || { echo "$file was not installed" && exit 1; }
done
"$prefix/bin/vmrpc" qemu-args "vm:$work/service" --name a --size 16M >/dev/null

# Exports: every name of the eight functions, the implementation's prefix, the version node itself, and nothing else.
allowed='vmrpc_(connect|serve|close|heap_setup|heap_destroy|malloc|free|offset)|vmrpc_impl_[a-z0-9_]+'
exported=$(nm -D --defined-only --format=just-symbols "$library" | sed 's/@.*//' | grep -vx VMRPC_0 | sort -u)
if surplus=$(grep -Evx "$allowed" <<<"$exported"); then
    printf 'exported, but not part of the interface:\n%s\n' "$surplus"
    exit 1
fi
functions=$(grep -Evc '^vmrpc_impl_' <<<"$exported")
if ((functions != 8)); then
    printf 'the interface has 8 functions, but %d are exported:\n%s\n' "$functions" "$exported"
    exit 1
fi
