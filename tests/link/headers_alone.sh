#!/usr/bin/env bash
# headers_alone.sh CC CXX INCLUDE: every public header compiles alone, those of C as C11 and as C++, twice in a row too.
set -uo pipefail
cc=$1 cxx=$2 include=$3
strict=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$include")
count=0 failed=0

compile() { # HEADER COMPILER FLAGS…
    ((++count))
    printf '#include <vmrpc/%s>\n#include <vmrpc/%s>\ntypedef int not_empty;\n' "$1" "$1" | "${@:2}" "${strict[@]}" - && return
    printf '%s does not compile alone with %s\n' "$1" "${*:2}"
    failed=1
}

for header in "$include"/vmrpc/*.h; do
    compile "${header##*/}" "$cc" -std=c11 -x c
    compile "${header##*/}" "$cxx" -std=c++20 -x c++
done
for header in "$include"/vmrpc/*.hpp; do
    compile "${header##*/}" "$cxx" -std=c++20 -x c++
done
((count > 0)) || { echo "no headers in $include/vmrpc"; exit 1; }
exit "$failed"
