#!/usr/bin/env bash
# readme_samples.sh CC CXX INCLUDE README: compiles the C and C++ samples of a page. The first line of a sample is its file's name in a
# comment; samples can include one another, and samples of the same name are one file.
set -euo pipefail
cc=$1 cxx=$2 include=$3 page=$4
folder=$(mktemp -d /tmp/vmrpc-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT

awk -v folder="$folder" '
    /^ *```(c|cpp|c\+\+)$/ { inside = 1; file = ""; next }
    /^ *```/               { inside = 0; next }
    !inside                { next }
    file == "" {
        if (!match($0, /^(\/\/|\/\*) *[a-z0-9_]+\.(c|cpp|h|hpp)( |$)/)) { print "a sample without a file name: " $0; exit 1 }
        file = $0
        gsub(/^(\/\/|\/\*) *| .*$/, "", file)
        file = folder "/" file
    }
    { print > file }
' "$page"

count=0
for source in "$folder"/*; do
    case $source in
        *.c) "$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$include" -I "$folder" "$source" ;;
        *.cpp) "$cxx" -std=c++20 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$include" -I "$folder" "$source" ;;
        *) continue ;;
    esac
    count=$((count + 1))
done
((count > 0)) || { echo "no samples in $page"; exit 1; }
echo "$count samples compile"
