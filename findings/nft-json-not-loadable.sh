#!/bin/bash
# nftables 1.0.6 (Debian 12): what `nft -j list ruleset` prints cannot be loaded again, and lacks what rules are about, for two
# kinds of valid rule sets.
#
# 1. A rule that jumps to an anonymous chain (`jump { counter drop; }`): its statement is no object but one string with the
#    text of the whole block, tabs and newlines included; nft warns on stderr ("stmt ops chain have no json callback") and ends
#    with 0. A reader of the JSON finds no verdict in a rule that drops.
# 2. Chains of family netdev: neither "dev" nor any other member says which devices the chain is on, with one device and with
#    several; the text output does. `nft -j -f` then asks for what its own listing left out.
#
# Fails when nft loads either listing, or when the string or the missing member are gone.
# Needs root (a network namespace of its own), apt and dpkg-deb.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get download -qq nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 \
    libmnl0 libjansson4 libedit2 libxtables12 libgmp10 libbsd0 libmd0 libtinfo6 >/dev/null 2>&1
for package in ./*.deb; do dpkg-deb -x "$package" root; done
library=$(find root -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)

cat >inside.sh <<'INSIDE'
nft() { LD_LIBRARY_PATH="$library" root/usr/sbin/nft "$@"; }
# What it lists, and whether it takes that back.
again() {
    nft -j list ruleset >"$1.json" 2>"$1.warnings"
    nft flush ruleset
    printf '%s: ' "$1"
    cat "$1.json"
    if nft -j -f "$1.json" 2>"$1.errors"; then echo "changed: $1 can be loaded" >&2; exit 1; fi
    head -n 1 "$1.errors"
    nft flush ruleset
}
nft --version
nft add table ip t
nft add chain ip t c '{ type filter hook input priority 0; }'
nft add rule ip t c tcp dport 80 jump '{ counter drop; }'
again anonymous
ip link add d0 type veth peer name d1
nft add table netdev t
nft add chain netdev t c '{ type filter hook ingress devices = { d0, d1 } priority 0; policy drop; }'
echo "text: $(nft list table netdev t | tr -s '\n\t' ' ')"
again devices
INSIDE
library=$library unshare --net bash -eu inside.sh

grep -q '"jump {' anonymous.json || { echo 'changed: the anonymous chain is no string' >&2; exit 1; }
grep -q 'no json callback' anonymous.warnings || { echo 'changed: no warning' >&2; exit 1; }
if grep -qE '"dev|d0' devices.json; then
    echo 'changed: the devices are listed' >&2
    exit 1
fi
echo 'as described: both listings lack something, and nft refuses both'
