# Run by the guest's systemd as root, in documented.sh: installs, types what docs/VMS.md says, and is the user then; and once more without the
# rule, when the VM's memory has come anew.
. /documented/words
as_user() { # COMMAND, after a new login: with the groups that the user is in now
    setpriv --reuid "$user" --regid "$user" --init-groups env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="/home/$user" bash -c "cd; $1"
}

follow() { # PASS
    bash -e -o pipefail /documented/block2
    echo "$1, root: status $?"
    as_user "$first_call"
    echo "$1, first call: status $?"
    as_user "$doctor"
    echo "$1, doctor: status $?"
}

install -d -o "$user" -g "$user" "/home/$user"
cp /documented/mean_client "/home/$user"
cp -r --no-preserve=ownership /documented/stage/. /
# udev may read the rules before root goes on, for any device's event: they name a group then that is not there yet, and are not read again as long
# as no file changes.
udevadm control --reload
udevadm settle
follow installed

rm /usr/lib/udev/rules.d/60-vmrpc.rules
udevadm control --reload
memory=$(dirname "$(realpath /sys/bus/dax/devices/dax0.0)") # what /dev/dax0.0 is made of
driver=$(realpath "$memory/driver")
for action in unbind bind; do
    basename "$memory" >"$driver/$action"
done
ls -l /dev/dax0.0
follow "without the rule"
