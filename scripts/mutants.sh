#!/usr/bin/env bash
# Law 16: a guard is proven by a mutant. Each patch under tests/mutants breaks a law; the test that
# it names must fail under it, and must pass without it. Works on a copy of the tree.
#   scripts/mutants.sh [LAW|NAME…]      all, or those of some laws, or whose names begin so
# MUTANTS_TARGET: cargo's directory for it (target/mutants/build); kept, so that it is incremental.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
work=$root/target/mutants
tree=$work/tree
log=$work/log
limit=1200 # seconds; a guard that finds no end under a mutant has not passed
export CARGO_TARGET_DIR="${MUTANTS_TARGET:-$work/build}"
mkdir -p "$tree" "$log"

header() { sed -n "s/^# $2: //p;/^---/q" "$1" | head -n 1; }

# The copy gets what differs only, with the time of now: cargo compares times, and a file that is
# put back with its old one would pass for built.
sync_tree() {
    git ls-files -co --exclude-standard -z >"$work/files"
    while IFS= read -r -d '' file; do
        [ -f "$file" ] || continue # deleted, not yet committed
        cmp -s "$file" "$tree/$file" && continue
        mkdir -p "$tree/$(dirname "$file")"
        cp "$file" "$tree/$file"
    done <"$work/files"
    (cd "$tree" && find . -type f -printf '%P\0') | while IFS= read -r -d '' file; do
        [ -f "$root/$file" ] || rm "$tree/$file"
    done
}

# guard COMMAND LOG: runs it in the copy; 0 it passed, 1 it failed, 2 it did not build, 3 no such test
# With the features of the whole workspace, for with those of one crate alone cargo would compile
# the long dependencies once more for each crate that a guard names.
guard() {
    local command=$1 out=$2
    command=$(sed -E 's/ -p [^ ]+/ --workspace/' <<<"$command")
    read -ra words <<<"${command/#cargo/scripts/cargo.sh}"
    if ! (cd "$tree" && "${words[@]:0:${#words[@]}-1}" --locked --no-run) >"$out" 2>&1; then
        return 2
    fi
    if ! (cd "$tree" && timeout "$limit" "${words[@]}" --locked) >>"$out" 2>&1; then
        return 1
    fi
    grep -qE '^test result: ok\. [1-9]' "$out" || return 3
}

wanted() { # wanted PATCH ARGUMENT…: no argument wants all
    local patch=$1 law name
    law=$(header "$patch" law)
    name=$(basename "$patch")
    shift
    [ $# -gt 0 ] || return 0
    for one in "$@"; do
        if [ "$one" = "$law" ] || [[ $one == *-* && $name == "$one"* ]]; then return 0; fi
    done
    return 1
}

patches=()
for patch in tests/mutants/*.patch; do
    if wanted "$patch" "$@"; then patches+=("$patch"); fi
done
[ ${#patches[@]} -gt 0 ] || { echo "no mutants of $*" >&2; exit 2; }

sync_tree
# All guards on the healthy tree first: one build serves them, and each mutant then costs one more.
declare -A healthy
echo "guards without a mutant first; log: $log" >&2
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    command=$(header "$patch" guard)
    if [ -n "${healthy[$command]:-}" ]; then continue; fi
    code=0
    guard "$command" "$log/$name.unpatched" || code=$?
    case $code in
    0) healthy[$command]=yes ;;
    2) healthy[$command]="the guard does not build, see $log/$name.unpatched" ;;
    3) healthy[$command]="no test has that name" ;;
    *) healthy[$command]="the guard fails without a mutant, see $log/$name.unpatched" ;;
    esac
done

survivors=0
row() { printf '%-4s %-44s %-72s %s\n' "$@"; }
row law mutant guard verdict
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    law=$(header "$patch" law)
    command=$(header "$patch" guard)
    verdict=${healthy[$command]}
    if [ "$verdict" = yes ]; then
        # the copy's own patch: somebody may work on the tree meanwhile
        if ! (cd "$tree" && GIT_CEILING_DIRECTORIES=$work git apply "$patch") 2>"$log/$name"; then
            verdict="does not apply any more"
        else
            code=0
            guard "$command" "$log/$name" || code=$?
            case $code in
            1) verdict="caught" ;;
            2) verdict="does not build, see $log/$name" ;;
            *) verdict="SURVIVED" ;;
            esac
        fi
        if [ "$verdict" != "does not apply any more" ]; then
            (cd "$tree" && GIT_CEILING_DIRECTORIES=$work git apply -R "$patch")
        fi
    fi
    row "$law" "$name" "${command#cargo test }" "$verdict"
    [ "$verdict" = caught ] || survivors=$((survivors + 1))
done
if [ "$survivors" -gt 0 ]; then
    echo "$survivors of ${#patches[@]} are not caught" >&2
    exit 1
fi
echo "all ${#patches[@]} are caught"
