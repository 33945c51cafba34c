#!/usr/bin/env bash
# check.sh MODEL WORK_FOLDER C_COMPILER: verifies MODEL.pml as it is and with each "Spare" macro, wants a counterexample for each "Broken" macro, and
# looks whether the functions that it mirrors are still where it says.
set -euo pipefail
model=$(realpath "${BASH_SOURCE[0]%/*}/$1.pml") work=$2 compiler=$3
source_folder=$(realpath "${BASH_SOURCE[0]%/*}/../..")

die() {
    printf '%s: %s\n' "${model##*/}" "$*" >&2
    exit 1
}

listed() { # KIND: the second word of each " * KIND: …" line
    sed -n "s/^ \* $1: \([^ ]*\).*/\1/p" "$model"
}

verify() { # [MACRO [COMPILER OPTION]]: leaves the verifier's words in the file `output`
    local folder=$work/${1:-as_it_is}
    rm -rf "$folder" && mkdir -p "$folder" && cd "$folder"
    spin ${1:+-D$1} -a "$model" >spin.log || die "spin refuses it${1:+ with $1}: $(cat spin.log)"
    # -w: what spin generates is not ours to mend
    "$compiler" -w "${2:--O1}" -DSAFETY -DNOFAIR -o pan pan.c || die "the verifier does not compile"
    output=$folder/output
    ./pan -m100000 -w24 >"$output" || die "the verifier failed${1:+ with $1}: $(tail -n 3 "$output")"
    ! grep -q 'max search depth too small\|out of memory' "$output" || die "not all of it was searched; see $output"
    rm -f pan pan.?
}

passes() {
    verify "$@"
    grep -q 'errors: 0$' "$output" || die "${1:+with $1: }$(grep '^pan:1:' "$output"); to see how: cd $work/${1:-as_it_is} && spin ${1:+-D$1 }-t -p $model"
    printf '%s: holds in all of %s states\n' "${1:-as it is}" "$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$output")"
}

while read -r file name; do
    mapfile -t files < <(compgen -G "$source_folder/$file")
    ((${#files[@]} > 0)) || die "mirrors $file, which is gone: look where $name is now, and whether the model still does what it does"
    grep -q "\b$name(" "${files[@]}" || die "mirrors $name in $file, which is not there: look what became of it, and follow"
done < <(sed -n 's/^ \* Mirrors: \([^ ]*\) \([^ ]*\)$/\1 \2/p' "$model")
[[ -n $(listed Mirrors) && -n $(listed Broken) ]] || die 'names nothing that it mirrors, or no broken variant'

passes
# What can never run would prove nothing: only ends of processes without an end may be unreached.
unreached=$(sed -n '/^unreached in/,/^$/p' "$output" | grep -E '\.pml:' | grep -v '"-end-"' || true)
[[ -z $unreached ]] || die "has steps that never run:"$'\n'"$unreached"
for macro in $(listed Spare); do
    passes "$macro"
done
for macro in $(listed Broken); do
    grep -Eq "^#.*\b$macro\b" "$model" || die "does nothing with $macro"
    verify "$macro" -O0 # what is broken is soon found: compiling takes longer
    grep -Eq '^pan:1: (invalid end state|assertion violated)' "$output" || die "$macro is broken, and was not caught"
    printf '%s: caught: %s\n' "$macro" "$(grep -m 1 '^pan:1:' "$output")"
done
