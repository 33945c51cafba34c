#!/usr/bin/env bash
# Usage: fetch_udev.sh. Fetches udev from Debian's archive into build/vm/udev (VMRPC_VM_DIR overrides build/vm), without installing it: the
# program bin/udevadm, which is the daemon too, for guests in which rules of ours are tried. 2 MB; its libraries are this system's.
set -euo pipefail
tool=fetch_udev
. "$(dirname "${BASH_SOURCE[0]}")/fetch_package.bash"

package_name() { echo udev; }

begin udev bin/udevadm
fetch udev
finish root
say "udev is in $target"
