#!/usr/bin/env bash
# Builds the RocksDB of the locked crate for tests and the demo in a few minutes, where the crate's
# own build script takes more than twenty: most of that time the compiler reads the same headers
# once for each of 340 files, so here a dozen files and more are one translation unit. The sources,
# defines and language flags are the crate's; only the grouping and the optimisation level
# (that of our dev profile) are ours. Production builds (cargo build --release) do not use it.
#
# Prints the directory for ROCKSDB_LIB_DIR, or nothing where this way is not gone: then the crate
# builds RocksDB as it always does. Where a unit does not compile whole, it is halved until it does.
set -euo pipefail

say() { echo "rocksdb: $*" >&2; }
usual_way() { say "$*; the crate builds it instead (some 20 minutes on two cores)"; exit 0; }

[ -z "${ROCKSDB_LIB_DIR:-}" ] || { echo "$ROCKSDB_LIB_DIR"; exit 0; }
[ "$(uname -sm)" = "Linux x86_64" ] || usual_way "only tried on Linux on x86_64"
command -v c++ >/dev/null && command -v ar >/dev/null || usual_way "no C++ compiler"

# where the registry keeps a crate of the lock file: `cargo metadata` unpacks it if need be
crate_dir() {
    cargo metadata --format-version 1 ${CI:+--locked} --filter-platform x86_64-unknown-linux-gnu |
        grep -o "\"manifest_path\":\"[^\"]*/$1-[0-9][^\"/]*/Cargo.toml\"" | head -n 1 |
        sed -e 's/^"manifest_path":"//' -e 's:/Cargo.toml"$::'
}
crate=$(crate_dir librocksdb-sys) && [ -n "$crate" ] || usual_way "its crate is not found"
lz4=$(crate_dir lz4-sys)/liblz4/lib
[ -e "$lz4/lz4.h" ] || usual_way "the headers of lz4 are not found"
sources=$crate/rocksdb_lib_sources.txt

target=$(cargo metadata --no-deps --format-version 1 | grep -o '"target_directory":"[^"]*"' | cut -d'"' -f4)
flags=(-std=c++20 -O1 -fPIC -w -include cstdint -msse2 -DLZ4=1 -DNDEBUG=1 -DHAVE_ALIGNED_NEW
    -DHAVE_UINT128_EXTENSION -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX
    -DROCKSDB_SCHED_GETCPU_PRESENT -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT
    -DROCKSDB_RANGESYNC_PRESENT -I"$crate/rocksdb/include" -I"$crate/rocksdb" -I"$lz4" -I"$crate"
    -I"$crate/rocksdb/third-party/gtest-1.8.1/fused-src")
# Files that define what others define too; each stays a unit of its own.
alone='^(monitoring/|port/|env/(env_posix|fs_posix|io_posix)|options/|util/(compression|crc32c|xxhash|filelock)|utilities/(transactions/lock/range|persistent_cache|memory)|db/(c|builder|db_impl/db_impl)\.cc|table/block_based/block_based_table_factory|trace_replay)'
size=14

# another compiler, crate, flag or grouping is another library
key=$({ basename "$crate"; c++ --version; echo "${flags[*]##*/} $alone $size"; cat "$sources"; } | sha256sum | cut -c1-16)
dir=$target/rocksdb-$key
mkdir -p "$target"
exec 9>"$target/rocksdb.lock"
flock 9 # two builds at once: the second finds the first one's library
if [ -e "$dir/librocksdb.a" ]; then
    echo "$dir"
    exit 0
fi

# what an interrupted run has compiled is taken by the next one
work=$dir.part
mkdir -p "$work"
started=$SECONDS
say "building it once, about five minutes on two cores"

grep -v '^util/build_version.cc$' "$sources" | sed 's/[[:space:]]*$//' >"$work/all"
{ grep -Ev "$alone" "$work/all" | xargs -n "$size"; grep -E "$alone" "$work/all"; } >"$work/units"

# unit NAME FILE…: compiles the files as one; halves them where that does not do
unit() {
    local name=$1 half
    shift
    [ ! -e "$work/$name.o" ] || return 0
    for file in "$@"; do echo "#include \"$file\""; done >"$work/$name.cc"
    if c++ "${flags[@]}" -c "$work/$name.cc" -o "$work/$name.o.part" 2>"$work/$name.err"; then
        mv "$work/$name.o.part" "$work/$name.o"
        return 0
    fi
    if [ $# -eq 1 ]; then
        cat "$work/$name.err" >&2
        return 1
    fi
    [ -z "${ROCKSDB_TELL:-}" ] || { say "halved: $*"; grep -m 3 error "$work/$name.err" >&2; }
    half=$(($# / 2))
    unit "${name}a" "${@:1:half}" && unit "${name}b" "${@:half+1}"
}

jobs=$(nproc)
number=0
total=$(wc -l <"$work/units")
failed=
while read -r -a files; do
    number=$((number + 1))
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || failed=yes; done
    unit "u$number" "${files[@]}" &
    [ $((number % 20)) -ne 0 ] || say "$number of $total units, $((SECONDS - started)) s"
done <"$work/units"
while [ "$(jobs -rp | wc -l)" -gt 0 ]; do wait -n || failed=yes; done
c++ "${flags[@]}" -c "$crate/build_version.cc" -o "$work/build_version.o" || failed=yes
[ -z "$failed" ] || usual_way "a file did not compile"

ar rcs "$work/librocksdb.a" "$work"/*.o
rm -f "$work"/*.o "$work"/*.cc "$work"/*.err
mv "$work" "$dir"
say "built in $((SECONDS - started)) s"
echo "$dir"
