#!/usr/bin/env bash
# Builds a private standard library for wasm32-unknown-unknown, for machines whose rustc has none
# and whose rustup cannot fetch it. It changes no toolchain and installs no package.
#
# usage: wasm-sysroot.sh DIRECTORY COMMIT     the sysroot is DIRECTORY/sysroot afterwards;
#                                             COMMIT is rustc's, for the paths inside
#
# Debian's package `rust-src` holds the library's source. `debian.sh` fetches it, in exactly rustc's
# version. Cargo then builds it as it builds any dependency (-Zbuild-std, which a stable rustc allows
# with RUSTC_BOOTSTRAP), and its libraries are all that a sysroot needs.
set -euo pipefail

target=wasm32-unknown-unknown
directory=$(mkdir -p "$1" && cd "$1" && pwd)
commit=$2
version=$(rustc -vV | sed -n 's/^release: //p')
done_mark=$directory/done-$version
[ -e "$done_mark" ] && exit 0

work=$directory/work
rm -rf "$work" "$directory/sysroot"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

# The source, of exactly this version.
bash "$(dirname "$0")/debian.sh" "$work" rust-src "$version+" trixie-backports trixie
dpkg --fsys-tarfile "$work"/rust-src_*.deb | tar -x -C "$work" "./usr/src/rustc-$version/library"
source=$work/usr/src/rustc-$version

# An empty crate that depends on it. With bitcode, so that guests can be optimised as a whole.
mkdir -p "$work/empty/src"
: > "$work/empty/src/lib.rs"
cat > "$work/empty/Cargo.toml" <<'TOML'
[package]
name = "empty"
version = "0.0.0"
edition = "2024"

[workspace]
TOML
remaps=--remap-path-prefix=$source=/rustc/$commit
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    remaps+=" --remap-path-prefix=$registry=cargo"
done
(
    cd "$work/empty"
    unset CARGO_ENCODED_RUSTFLAGS
    RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$source/library \
    RUSTFLAGS="-Cembed-bitcode=yes $remaps" CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
        cargo build --quiet --release -Zbuild-std=std,panic_abort --target "$target" \
        --target-dir "$work/built"
)

libraries=$directory/sysroot/lib/rustlib/$target/lib
mkdir -p "$libraries"
cp "$work/built/$target"/release/deps/*.rlib "$libraries/"
rm -f "$libraries"/libempty*
touch "$done_mark"
