# For ./run: the Debian packages of packages.txt, installed where they are missing.
install_packages() {
    local sudo=(env)
    ((EUID == 0)) || sudo=(sudo -n env)
    sudo+=(DEBIAN_FRONTEND=noninteractive apt-get -y)
    "${sudo[@]}" install --no-install-recommends "$@" || { "${sudo[@]}" update && "${sudo[@]}" install --no-install-recommends "$@"; }
}

plan_setup() {
    [[ -z ${VMRPC_SKIP_SETUP:-} ]] || return 0
    local wanted present missing=() package
    mapfile -t wanted < <(sed 's/#.*//; s/[[:space:]]//g; /^$/d' packages.txt)
    if [[ ! -r /etc/os-release ]] || ! (. /etc/os-release && [[ " ${ID:-} ${ID_LIKE:-} " == *" debian "* ]]); then
        die "this is not Debian: install what these Debian 12 packages hold, then set VMRPC_SKIP_SETUP=1: ${wanted[*]}"
    fi
    present=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
    for package in "${wanted[@]}"; do
        [[ $'\n'$present$'\n' == *$'\n'"$package installed"$'\n'* ]] || missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "not root and no sudo; as root, run: apt-get install --no-install-recommends ${missing[*]}"
        sudo -v || die "sudo does not let this user in; as root, run: apt-get install --no-install-recommends ${missing[*]}"
    fi
    plan "installing ${#missing[@]} Debian packages" install_packages "${missing[@]}"
}
