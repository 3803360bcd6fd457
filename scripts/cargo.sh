#!/usr/bin/env bash
# cargo for the dev profile, with a RocksDB that is built the quick way where that is possible
# (see rocksdb.sh): what `make` uses, so use it too beside `make`, or cargo finds its RocksDB
# changed and builds it anew. For production builds take cargo itself.
set -euo pipefail

rocksdb=$("$(dirname "$0")/rocksdb.sh")
if [ -n "$rocksdb" ]; then
    export ROCKSDB_LIB_DIR=$rocksdb ROCKSDB_STATIC=1
fi
exec cargo "$@"
