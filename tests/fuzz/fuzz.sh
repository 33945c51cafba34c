#!/usr/bin/env bash
# Runs the fuzzing targets of build/fuzz, one after another. For ./run fuzz; `tests/fuzz/fuzz.sh keep` by hand.
#   fuzz.sh run SECONDS [TARGET…]  each for so long: a line for each, build/bench/fuzz.json, and what crashes in build/fuzz/crashes/TARGET
#   fuzz.sh keep [TARGET…]         makes the committed corpora of what they and all runs have found: the fewest inputs with all branches
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$PWD/build/fuzz
export VMRPC_SENTINEL=$build/src/vmrpc-sentinel
export ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1

targets() { # [TARGET…]: those, or all, as tests/fuzz/CMakeLists.txt has them
    if (($# > 0)); then printf '%s\n' "$@"; else sed -n 's/^vmrpc_fuzz(\([a-z_]*\).*/\1/p' tests/fuzz/CMakeLists.txt; fi
}

program() { # TARGET
    local path=$build/tests/fuzz/fuzz-$1
    [[ -x $path ]] || { printf 'fuzz: no target %s; there are: %s\n' "$1" "$(targets | paste -sd ' ')" >&2 && exit 1; }
    printf '%s\n' "$path"
}

number() { # NAME LOG: of libFuzzer's last words
    sed -n "s/^stat::$1: *//p" "$2" | tail -n 1
}

run_one() { # TARGET SECONDS: a line of numbers for report_one
    local found=$build/found/$1 crashes=$build/crashes/$1 log=build/log/fuzz-$1.log corpus=$PWD/tests/fuzz/corpus/$1 path coverage
    path=$(program "$1")
    mkdir -p "$found" "$crashes" "$corpus" build/log
    # What crashed before comes first: it crashes again, or is mended and an input as any other.
    find "$crashes" -type f -exec mv -t "$found" {} +
    # Inputs of 1 KiB from the start: a target takes some dozens of steps of some dozens of bytes. 30 s for one: none takes 1.
    (cd "$build" && exec "$path" -max_total_time="$2" -max_len=1024 -len_control=0 -timeout=30 -rss_limit_mb=4096 -use_value_profile=1 -print_final_stats=1 \
        -artifact_prefix="$crashes/" "$found" "$corpus") >"$log" 2>&1 </dev/null || true
    coverage=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) corp: \([0-9]*\).*/\1 \2 \3/p' "$log" | tail -n 1)
    printf '%s %s %s %s %s\n' "$1" "$(number number_of_executed_units "$log")" "$(number average_exec_per_sec "$log")" "${coverage:-0 0 0}" \
        "$(find "$crashes" -type f | wc -l)"
}

run_all() { # SECONDS [TARGET…]
    local seconds=$1 name runs rate branches features inputs crashes status=0 separator=
    shift
    mkdir -p build/bench
    printf '{"seconds_each": %d, "targets": [' "$seconds" >build/bench/fuzz.json
    printf '%-12s %12s %8s %8s %9s %7s %8s\n' target executions per_s branches features inputs crashes
    for name in $(targets "$@"); do
        read -r name runs rate branches features inputs crashes < <(run_one "$name" "$seconds")
        printf '%-12s %12s %8s %8s %9s %7s %8s\n' "$name" "$runs" "$rate" "$branches" "$features" "$inputs" "$crashes"
        printf '%s\n  {"target": "%s", "executions": %d, "executions_per_s": %d, "branches": %d, "features": %d, "inputs": %d, "crashes": %d}' \
            "$separator" "$name" "$runs" "$rate" "$branches" "$features" "$inputs" "$crashes" >>build/bench/fuzz.json
        separator=,
        if ((crashes != 0 || runs == 0)); then
            status=1
            printf 'fuzz: %s: build/log/fuzz-%s.log says what went wrong; inputs are in %s/crashes/%s; again: %s/tests/fuzz/fuzz-%s FILE\n' \
                "$name" "$name" "$build" "$name" "$build" "$name" >&2
        fi
    done
    printf '\n]}\n' >>build/bench/fuzz.json
    return "$status"
}

keep() { # TARGET
    local path kept=$build/kept/$1 corpus=$PWD/tests/fuzz/corpus/$1
    path=$(program "$1")
    rm -rf "$kept" && mkdir -p "$kept" "$corpus" "$build/found/$1" build/log
    # Inputs that once crashed are kept for ever: crash-NAME, added by hand.
    (cd "$build" && exec "$path" -set_cover_merge=1 -use_counters=0 -use_value_profile=0 "$kept" "$corpus" "$build/found/$1") >"build/log/fuzz-keep-$1.log" 2>&1
    find "$corpus" -type f ! -name 'crash-*' -delete
    cp "$kept"/* "$corpus"
    printf '%s: %d inputs, %d bytes\n' "$1" "$(find "$corpus" -type f | wc -l)" "$(cat "$corpus"/* | wc -c)"
}

case "${1:-}" in
    run) run_all "${@:2}" ;;
    keep) targets "${@:2}" | while read -r target; do keep "$target"; done ;;
    *) sed -n '2,4s/^# //p' "$0" >&2 && exit 1 ;;
esac
