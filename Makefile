# Two commands matter: `make demo` and `make test`. Both start from a fresh clone and bring
# what they need: system packages (when root), the build, the proof parameters.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test build check-fmt fmt lint docs params params-snap bench bench-kernels mutants test-slow drill post-campaign test-lotus test-upstream slow deny deny-offline deps

# Sectors that the demo seals; with KEEP=1 it stays up until Ctrl-C.
SECTORS ?= 2
KEEP ?=
export SECTORS KEEP
# Folders with foreign programs, for test-lotus and test-upstream.
LOTUS ?=
UPSTREAM ?=
export LOTUS UPSTREAM

# The dev profile's cargo: RocksDB is built the quick way (see scripts/rocksdb.sh).
cargo := scripts/cargo.sh
# In CI the lock file is law.
cargo_flags := $(if $(CI),--locked)
# Where cargo puts things, be it by CARGO_TARGET_DIR, by a config file, or ./target.
bin = $$(cargo metadata --no-deps --format-version 1 | grep -o '"target_directory":"[^"]*"' | cut -d'"' -f4)/debug

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: build params ## seal SECTORS sectors (default 2) on a private chain and prove them; KEEP=1 stays up
	@"$(bin)/damocles-demo" run

test: deps check-fmt lint docs build params ## everything that must hold: format, lints, documentation, unit tests, real daemons with real proofs
	$(cargo) test $(cargo_flags) --workspace

# One profile and one command for demo and tests, so that nothing is compiled twice: without
# the tests' own dependencies cargo would choose other features for the long ones.
build: deps ## compile the daemons, the test network and the tests
	$(cargo) build $(cargo_flags) --workspace --all-targets

check-fmt:
	cargo fmt --all -- --check

fmt: ## format the sources
	cargo fmt --all

lint: deps ## clippy; a warning is an error
	$(cargo) clippy $(cargo_flags) --workspace --all-targets -- -D warnings

# After lint: both need the same metadata of all dependencies.
docs: deps ## rustdoc of our crates; a warning is an error (links to private items are for us)
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(cargo) doc $(cargo_flags) --workspace --no-deps

params: build ## make the 2KiB proof parameters once, and decode them for our prover (a minute on 2 cores)
	@"$(bin)/damocles-worker" params generate --sector-size 2KiB --aggregate
	@"$(bin)/damocles-worker" params convert --sector-size 2KiB

params-snap: build ## the same, and those of snap upgrades (a quarter of a minute and 1.5 GB more)
	@"$(bin)/damocles-worker" params generate --sector-size 2KiB --aggregate --snap

bench: build ## print the figures of docs/benchmarks.md as this machine gives them; ends with bench-kernels
	@"$(bin)/damocles-devnet" bench
	@"$(bin)/damocles-demo" idle
	@$(MAKE) --no-print-directory bench-kernels

# The proofs library asks for SHA instructions at compile time: it gets its best build, or our
# gain would be a fake one. Our kernels look for them at run time. The database is not measured.
kernels_build = cargo build $(cargo_flags) --release -p damocles-worker --bin damocles-worker \
  --config 'profile.release.package.librocksdb-sys.opt-level=1'

bench-kernels: deps ## our kernels against the proofs library (an hour the first time, then 15 minutes; LARGE=1: 512MiB too, PROOFS=1: proofs)
	RUSTFLAGS="-C target-cpu=native" $(kernels_build) --target-dir target/native
	RUSTFLAGS= $(kernels_build) --target-dir target/default
	@scripts/bench-kernels.sh target/native/release/damocles-worker target/default/release/damocles-worker

mutants: deps ## break each law by a small patch and see that its guard fails; LAW=3 for one (hours for all, the first time)
	@scripts/mutants.sh $(LAW)

test-slow: build params ## a house under siege: crowds, liars, damaged files (twenty minutes; SIEGE_CASES=word for some)
	$(cargo) test $(cargo_flags) --workspace --test siege -- --ignored --nocapture

drill: build params ## several managers on one database, killed and cut off at random (ten minutes; needs PostgreSQL)
	$(cargo) test $(cargo_flags) --workspace --test house -- --ignored --nocapture drill

post-campaign: build params ## three miners kept proven while everything fails; SEED=1 PERIODS=100 DEADLINES=48 (twenty-two minutes a period)
	SEED=$(or $(SEED),1) PERIODS=$(or $(PERIODS),100) DEADLINES=$(or $(DEADLINES),48) $(cargo) test $(cargo_flags) --workspace --test house -- --ignored --nocapture long_post_campaign

test-lotus: build params ## the house on a private network of real Lotus nodes; LOTUS=DIR holds a 2k build (half an hour)
	@"$(bin)/damocles-peers" lotus

test-upstream: build params ## our daemons with upstream's, each in the place of the other; UPSTREAM=DIR holds theirs
	@"$(bin)/damocles-peers" upstream

slow: build params-snap ## the tests marked "ignore": large sectors, hours of CPU, tens of GiB
	$(cargo) test $(cargo_flags) --workspace -- --ignored

# Not part of `make test`: it reads the list of advisories from the network.
deny: ## licences, advisories and sources of what we stand on; installs cargo-deny when it is missing
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny check

deny-offline: ## the part of it that asks no network, for CI; cargo-deny must be there
	cargo deny --offline check bans licenses sources

deps:
	@scripts/deps.sh
