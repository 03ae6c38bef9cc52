#!/bin/bash
# nftables 1.0.6 (Debian 12), `nft -j list tables`: the flags of a table come out as whatever lies in memory.
#
# Valid input: a table with `flags dormant`. The text output says `flags dormant`. The JSON output has a "flags" member, but
# its value is not the flag: it is another string of the program (here the release name), a single letter, or bytes that end
# the JSON document in the middle, depending on what is listed. A reader that skips tables with the flag "dormant" by the JSON
# never skips one, and takes rules that are out of force for rules in force.
#
# Seen: {"table": {"family": "ip", "name": "t", "handle": 1, "flags": "Lester Gooch #5"}}
# Fails when the JSON names the flag, or when there is no "flags" member any more.
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
nft --version
nft add table ip t '{ flags dormant; }'
echo "text: $(nft list table ip t | tr -s '\n\t' ' ')"
nft -j list tables >tables.json
INSIDE
library=$library unshare --net bash -eu inside.sh
printf 'json: '
cat -v tables.json

grep -q '"flags"' tables.json || { echo 'changed: no flags member' >&2; exit 1; }
if grep -q '"dormant"' tables.json; then
    echo 'changed: the JSON names the flag' >&2
    exit 1
fi
echo 'as described: the JSON has flags, and they are not the table'"'"'s'
