#!/bin/bash
# vm_command.sh VMRPC: the commands for who runs VMs, from the command line: what goes to stdout and what to stderr, and how they end.
set -euo pipefail
command=$1
folder=$(mktemp -d "${TMPDIR:-/tmp}/vmrpc-test-XXXXXX")
trap 'rm -rf "$folder"' EXIT
service=$folder/service

fail() {
    echo "vm_command: $*" >&2
    exit 1
}

# Arguments for a shell, and nothing but arguments, twice the same; the hints apart.
"$command" qemu-args "vm:$service?ring=poll" --name a --size 32M >"$folder/args" 2>"$folder/hints"
"$command" qemu-args "vm:$service?ring=poll" --name a >"$folder/again" 2>/dev/null
cmp "$folder/args" "$folder/again"
words=($(<"$folder/args"))
((${#words[@]} == 6)) || fail "six words? ${words[*]}"
[[ ${words[0]} == -object && ${words[1]} == *",mem-path=$service/a.mem,"* ]] || fail "${words[*]}"
grep -q "made $service/a.mem" "$folder/hints" || fail "$(<"$folder/hints")"
grep -q 'maxmem=RAM+1024M' "$folder/hints" || fail "$(<"$folder/hints")"
(($(stat -c %s "$service/a.mem") == 34 << 20)) || fail "$(stat "$service/a.mem")"
[[ $(stat -c %a "$service/a.mem") == 660 ]] || fail "$(stat "$service/a.mem")"
"$command" qemu-args "vm:$service" --name b --size 32M --mode 640 --json >"$folder/json" 2>"$folder/nothing"
grep -q '"segment_bytes": 33554432' "$folder/json" || fail "$(<"$folder/json")"
[[ ! -s $folder/nothing && $(stat -c %a "$service/b.mem") == 640 ]] || fail "$(<"$folder/nothing")"
"$command" libvirt-xml "vm:$service" --name b >"$folder/xml"
grep -q "<path>$service/b.mem</path>" "$folder/xml" || fail "$(<"$folder/xml")"

refused() { # TEXT ARGUMENTS…: nothing on stdout, the text on stderr, status not 0
    if "$command" "${@:2}" >"$folder/said" 2>"$folder/error"; then fail "${*:2} was not refused"; fi
    [[ ! -s $folder/said ]] || fail "${*:2} printed $(<"$folder/said")"
    grep -q -- "$1" "$folder/error" || fail "${*:2} said $(<"$folder/error")"
}
refused 'leave --size out' qemu-args "vm:$service" --name a --size 64M
refused 'cannot be a VM' qemu-args "vm:$service" --name a,b
refused 'is no mode' qemu-args "vm:$service" --name c --mode 888
refused 'cannot make the folder' qemu-args "vm:$service/a.mem/deeper" --name c
refused 'required' qemu-args "vm:$service"
refused 'no address of a service' doctor "local:$service"

# A machine of which nothing is known, once a guest and once a host, where its exit status is that of the worst line.
export VMRPC_ROOT_FOR_TESTS=$folder
status=0
"$command" doctor --as guest >"$folder/guest" || status=$?
((status == 1)) || fail "a guest without devices: $status"
grep -q '^seen as a guest: as asked for' "$folder/guest" || fail "$(<"$folder/guest")"
grep -q '^error .*neither a DAX device nor ivshmem' "$folder/guest" || fail "$(<"$folder/guest")"
"$command" doctor "vm:$service" >"$folder/host" || fail "a host with a service's folder: $(<"$folder/host")"
grep -q "^ok .*$service/a.mem: a segment of 32 MiB" "$folder/host" || fail "$(<"$folder/host")"
echo nonsense >"$service/c.mem"
! "$command" doctor "vm:$service" --json >"$folder/host" || fail 'a broken file is no error?'
grep -q '"level": "error"' "$folder/host" || fail "$(<"$folder/host")"
