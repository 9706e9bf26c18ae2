#!/usr/bin/env bash
# Make a Debian 12 base image with Python, for machines whose engine can pull none: make_base.sh NAME [PACKAGE...]
#
# The machine's own Debian mirror, proxy and certificates are used; none of them ends up in the image.
# Does nothing where the image is there already. Needs root (debootstrap makes device files and changes root).
set -euo pipefail

name=${1:?usage: make_base.sh NAME [PACKAGE...]}
shift
suite=bookworm
# python3-venv: the build image's environment; binutils: the runtime image strips one library with it.
packages=(python3 python3-venv binutils "$@")

docker=${DOCKER:-docker}
if "$docker" image inspect "$name" >/dev/null 2>&1; then
    echo "make_base: $name is there already" >&2
    exit 0
fi

fail() {
    echo "make_base: $1" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "needs root. Run it with sudo, or pull debian:12-slim where a registry can be reached."
command -v debootstrap >/dev/null || fail "debootstrap is missing. Install it: apt-get install debootstrap"

# The first mirror in apt's own settings that serves the suite, in either of apt's two formats.
mirror() {
    local deb822 lines
    deb822=$(awk '/^URIs:/ {uri = $2} /^Suites:/ && $0 ~ "[ ]'"$suite"'( |$)" && uri {print uri; exit}' \
        /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
    lines=$(awk '$1 == "deb" {u = $2; s = $3; if (u ~ /^\[/) {u = $3; s = $4} if (s == "'"$suite"'") {print u; exit}}' \
        /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true)
    echo "${deb822:-$lines}"
}

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
log=$root.log

included=$(IFS=,; echo "${packages[*]}")
echo "make_base: $suite from $(mirror) with ${packages[*]}" >&2
debootstrap --variant=minbase --include="$included" "$suite" "$root" "$(mirror)" >"$log" 2>&1 ||
    fail "debootstrap failed: $(tail -n 1 "$log") (all of it in $log)"

# What differs from run to run or serves no image: package lists and archives, logs, caches, documents, this machine's names.
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/{apt,debconf,ldconfig}/* "$root"/var/log/* "$root"/tmp/* \
    "$root"/usr/share/{man,info,locale}/* "$root"/etc/{hostname,resolv.conf,machine-id}
find "$root/usr/share/doc" ! -type d ! -name copyright -delete
find "$root" -xdev -name __pycache__ -prune -exec rm -rf {} +

tar --one-file-system --numeric-owner --sort=name -C "$root" -c . |
    "$docker" import --change 'CMD ["bash"]' --change 'LABEL edge-toolkit.base=debootstrap' - "$name" >/dev/null
rm -f "$log"
echo "make_base: made $name" >&2
