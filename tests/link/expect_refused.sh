#!/usr/bin/env bash
# expect_refused.sh COMPILER INCLUDE SOURCE MESSAGE: the source compiles; with VMRPC_TEST_REFUSED it does not, and the compiler says MESSAGE.
set -uo pipefail
compiler=$1 include=$2 source=$3 message=$4

compile() { # [FLAGS…]
    "$compiler" -std=c++20 -fsyntax-only -I "$include" "$@" "$source" 2>&1
}

if ! said=$(compile); then
    printf 'should compile without VMRPC_TEST_REFUSED:\n%s\n' "$said"
    exit 1
fi
if said=$(compile -DVMRPC_TEST_REFUSED); then
    echo 'should not compile with VMRPC_TEST_REFUSED'
    exit 1
fi
if [[ $said != *"$message"* ]]; then
    printf 'refused, but without the words "%s":\n%s\n' "$message" "$said"
    exit 1
fi
