#!/usr/bin/env bash
# System packages that the build needs, and why. Installed when root, else named.
set -euo pipefail

missing=()
need() { # need PACKAGE TEST…: PACKAGE is missing unless TEST succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
wanted=()
want() { # want PACKAGE TEST…: the same, for what the build can do without
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || wanted+=("$package")
}
header() { [ -e "$1" ]; }
libclang() { compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || compgen -G '/usr/lib*/libclang*.so*' || compgen -G '/usr/lib/*/libclang*.so*'; }
postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb'; }
clang_headers() { compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' || compgen -G '/usr/lib*/clang/*/include/stddef.h'; }

need make command -v make             # this house's front door
need gcc command -v cc                # linker; blst, ring, lz4 are C and assembly
need g++ command -v c++               # rocksdb is C++
need libc6-dev header /usr/include/stdlib.h
if [ -z "${LIBCLANG_PATH:-}" ]; then
    need libclang-dev libclang        # rocksdb's bindings are made by bindgen
    need libclang-dev clang_headers
fi
want postgresql postgres              # the tests of transactions start one; without, they say so

if ! command -v cargo >/dev/null; then
    echo "cargo is missing. hint: install a Rust toolchain, 1.89 or newer, from https://rustup.rs" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    missing+=("${wanted[@]}")
elif [ ${#wanted[@]} -gt 0 ]; then
    echo "not installed, and some tests will be skipped: ${wanted[*]}" >&2
fi
[ ${#missing[@]} -eq 0 ] && exit 0

mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing system packages: ${missing[*]}. hint: sudo apt-get update && sudo apt-get install -y ${missing[*]}" >&2
    exit 1
fi
echo "installing system packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# the tests make servers of their own; Debian's package would start one of its own, too
if [[ " ${missing[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
    mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
fi
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "installing ${missing[*]} failed. hint: see the lines above; the mirror may be unreachable" >&2
    exit 1
fi
