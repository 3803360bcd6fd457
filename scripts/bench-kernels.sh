#!/usr/bin/env bash
# Our kernels against the proofs library, one line per measurement, for each program given:
# bench-kernels.sh PROGRAM…   LARGE=1 adds 512MiB sectors, PROOFS=1 proofs of 2KiB
# (their parameters must be there: make params-snap). About seven minutes per program, PROOFS=1 as long again.
set -euo pipefail

cores=$(nproc)
for program in "$@"; do
    measure() {
        # what it does meanwhile is told on stderr; the line is the result
        "$program" bench "$@"
    }
    echo "== $program"
    for arity in 2 8 11; do
        measure poseidon --size 8MiB --arity "$arity"
    done
    measure pc2 --size 8MiB --cores 1
    if [ "$cores" -ge 2 ]; then
        measure pc2 --size 8MiB --cores 2
    fi
    measure pc1 --size 8MiB
    measure pc1 --size 8MiB --sectors 16
    measure tree-d --size 8MiB
    if [ -n "${PROOFS:-}" ]; then
        measure msm --size 2KiB --runs 1
        measure fft --size 2KiB
        measure c2 --size 2KiB --runs 1
        measure window-post --size 2KiB --sectors 2
        measure snap --size 2KiB
        measure params --size 2KiB --circuit winning-post --runs 1
    fi
    if [ -n "${LARGE:-}" ]; then
        measure tree-d --size 512MiB --runs 3
        measure pc1 --size 512MiB --runs 3
        measure pc2 --size 512MiB --cores "$cores" --runs 1
    fi
done
