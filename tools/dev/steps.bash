# For ./run: long work as steps, each with one line on the terminal and its output in build/log/.
group=       # process group of the step that is running
titles=()    # planned steps: a title, and a command quoted for eval
commands=()

plan() { # TITLE COMMAND…
    titles+=("$1")
    shift
    commands+=("${*@Q}")
}

# Ends what the running step started, when this script is interrupted.
interrupted() {
    trap '' INT TERM HUP
    if [[ -n $group ]]; then
        kill -TERM -- "-$group" 2>/dev/null || true
        for _ in {1..20}; do
            kill -0 -- "-$group" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$group" 2>/dev/null || true
    fi
    printf '\nrun: interrupted\n' >&2
    exit 130
}

# Runs the planned steps, each in a process group of its own with its output in build/log/, and stops at the first that fails.
execute() {
    local i log status
    trap interrupted INT TERM HUP
    mkdir -p build/log
    for i in "${!titles[@]}"; do
        log="build/log/$(tr -cs 'a-zA-Z0-9\n' - <<<"${titles[i]}").log"
        printf '== [%d/%d] %s …' $((i + 1)) ${#titles[@]} "${titles[i]}"
        SECONDS=0 status=0
        set -m
        eval "${commands[i]}" >"$log" 2>&1 </dev/null &
        group=$!
        set +m
        wait "$group" || status=$?
        group=
        printf '  (%d s)\n' "$SECONDS"
        if ((status != 0)); then
            {
                grep -aE -m 12 -A 8 '^[^ ]*: Failure$|(^|: )(fatal )?error: |ERROR: |WARNING: ThreadSanitizer' "$log" || true
                echo '…'
                tail -n 40 "$log"
            } >&2
            die "failed: ${titles[i]} (status $status); all of its output is in $log"
        fi
        grep -E '^([0-9]+% tests passed|Total Test time)' "$log" || true
    done
    titles=() commands=()
}
