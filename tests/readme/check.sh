#!/bin/bash
# check.sh README BUILD-FOLDER INCLUDE-FOLDER CC CXX: the samples of README.md, each a fenced block whose first line names its
# file, are built and run: the servers, both clients, in all combinations, and the containers'.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readme=$1 build=$2 include=$3 cc=$4 cxx=$5
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

awk -f "$source/samples.awk" "$readme"

flags=(-Wall -Wextra -Wpedantic -Werror -I "$include" -I .)
link=(-L "$build/src" "-Wl,-rpath,$build/src" -lvmrpc)
"$cxx" -std=c++20 "${flags[@]}" server.cpp -o server_cpp "${link[@]}"
"$cxx" -std=c++20 "${flags[@]}" server_pool.cpp -o server_pool "${link[@]}"
"$cxx" -std=c++20 "${flags[@]}" client.cpp -o client_cpp "${link[@]}"
"$cc" -std=c11 "${flags[@]}" server.c -o server_c "${link[@]}"
"$cc" -std=c11 "${flags[@]}" client.c -o client_c "${link[@]}"

for kind in cpp c pool; do
    rm -f mean.sock
    "./server_$kind" "local:$folder/mean.sock" &
    server=$!
    for ((i = 0; i < 500; i++)); do [ -S mean.sock ] && break; sleep 0.01; done
    for client in cpp c; do
        said=$("./client_$client" "local:$folder/mean.sock")
        [ "$said" = "mean: 499999.500000" ] || { echo "client_$client with server_$kind said: $said" >&2; exit 1; }
    done
    kill "$server"; wait "$server" 2>/dev/null || true
    server=
done
"$cxx" -std=c++20 "${flags[@]}" words_server.cpp -o words_server "${link[@]}"
"$cxx" -std=c++20 "${flags[@]}" words_client.cpp -o words_client "${link[@]}"
./words_server "local:$folder/words.sock" &
server=$!
for ((i = 0; i < 500; i++)); do [ -S words.sock ] && break; sleep 0.01; done
said=$(./words_client "local:$folder/words.sock")
[ "$said" = $'be: 2\nnot: 1\nor: 1\nto: 2' ] || { echo "words_client said: $said" >&2; exit 1; }
kill "$server"; wait "$server" 2>/dev/null || true
server=
echo "samples of $(basename "$readme"): 3 servers, 2 clients, 6 combinations right, and the containers"
