#!/usr/bin/env bash
# Downloads a package of Debian's, and installs nothing.
#
# usage: debian.sh DIRECTORY PACKAGE VERSION SUITE...     PACKAGE_*.deb is in DIRECTORY afterwards;
#                                                         VERSION is how its version begins
#
# It is fetched by apt from wherever this machine's apt fetches, from the first of the suites that has
# it, into lists and a cache of our own, which are gone afterwards.
set -euo pipefail

directory=$(mkdir -p "$1" && cd "$1" && pwd)
package=$2
version=$3
shift 3

apt=$(mktemp -d "$directory/apt.XXXXXX")
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: > "$apt/status"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') \
    || { echo "apt knows no mirror of Debian's" >&2; exit 3; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in "$@"; do
    echo "deb [signed-by=$keys] $mirror $suite main"
done > "$apt/sources.list"
options=(
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
    -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
)
apt-get "${options[@]}" -qq update > /dev/null 2>&1 || { echo "apt cannot update" >&2; exit 3; }
exact=$(apt-cache "${options[@]}" madison "$package" | awk '{print $3}' | grep -m1 "^$version") \
    || { echo "Debian has no $package $version" >&2; exit 3; }
(cd "$directory" && apt-get "${options[@]}" -qq download "$package=$exact" > /dev/null 2>&1)
