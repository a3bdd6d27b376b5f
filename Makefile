# The only task runner. `make` lists the tasks.
#   make run ARGS="--api 127.0.0.1:0"      SEEDS=5000 make soak      N=10 make bench

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

repo := $(realpath $(dir $(lastword $(MAKEFILE_LIST))))
target := $(or $(CARGO_TARGET_DIR),$(repo)/target)
export ALLOD_FIXTURES ?= $(repo)/target/fixtures
sudo := $(if $(filter 0,$(shell id -u)),,sudo)
SEEDS ?= 20000
FUZZ_SECONDS ?= 600
KILLS ?= 200
POWER_CUTS ?= 40
RESTARTS ?= 100
ANY_KILLS ?= 100
GONE ?= 600
FAULTS := kill=$(KILLS),power_cut=$(POWER_CUTS),birth=$(POWER_CUTS),failed_sync=20,full_disk=10,no_inodes=10,damage=400
ARGS ?=

.PHONY: help
help: ## list the tasks
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: run
run: ## build, and start a network of one on this machine
	@cargo build --locked -p allod
	echo "In a second terminal:  export PATH=$(target)/debug:\$$PATH" >&2
	exec $(sudo) "$(target)/debug/allod" up $(ARGS)

.PHONY: test
test: needs_root images ## run every test (as root; about 47 minutes from nothing on two cores)
	@step() { echo "== $$*" >&2; "$$@"; }
	step cargo fmt --all --check
	step cargo clippy --workspace --all-targets --locked -- -D warnings
	# The fuzz targets are a workspace of their own, whose lock file follows this one's dependencies.
	step cargo fetch --quiet --locked --manifest-path fuzz/Cargo.toml
	# All targets at once, so that the programs are those the tests were built with.
	step cargo build --workspace --all-targets --locked
	step cargo nextest run --workspace --locked --profile ci
	for validators in 1 4 7; do
		step "$(target)/debug/allod-sim" --seed 1 --seeds 100 --validators $$validators --twice
	done
	step tests/durability/run.py "$(target)/debug/examples/endure"
	export ALLOD="$(target)/debug/allod"
	for story in tests/e2e/*.sh; do
		step "$$story"
	done
	echo "make test: everything passed"

.PHONY: soak
soak: needs_root images ## SEEDS more seeds, KILLS and POWER_CUTS of a real ledger, RESTARTS of an agent, ANY_KILLS: docs/trust.md
	@cargo build --release --locked -p allod-sim
	cargo build --release --locked -p allod-ledger --example endure
	cargo build --locked -p allod-ledger --example endure
	endure="$(target)/release/examples/endure"
	cargo build --workspace --all-targets --locked
	ALL=1 tests/e2e/cgroup2.sh
	tests/durability/run.py "$$endure" --only $(FAULTS) --record docs/trust.md
	tests/durability/run.py "$$endure" --agree "$(target)/debug/examples/endure" --record docs/trust.md
	cargo build --locked -p allod
	export ALLOD="$(target)/debug/allod"
	RESTARTS=$(RESTARTS) tests/e2e/restarts.sh --record docs/trust.md
	KILLS=$(ANY_KILLS) tests/e2e/any_process.sh --record docs/trust.md
	GONE=$(GONE) CLOCKS='600 -600' tests/e2e/bad_validator.sh
	cargo test --locked -p allod-sim --test it -- --ignored
	tests/soak.sh "$(target)/release/allod-sim" $(SEEDS)

.PHONY: bench
bench: needs_root images ## measure against dockerd and etcd; prints the table of docs/benchmarks.md
	@tests/setup.sh bench
	cargo build --release --locked -p allod
	cargo build --release --locked -p allod-ledger --example commit
	cargo build --release --locked -p allod-runtime --example start
	cargo build --release --locked -p allod-state --example law
	cargo build --release --locked -p allod-node --example quorum
	bench/run.py

.PHONY: fuzz
fuzz: ## FUZZ_SECONDS for each fuzz target of the law, counted in docs/trust.md
	@fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: mutants
mutants: ## plant each bug of tests/mutants (ONLY=crate) and see its test fail; writes docs/trust.md
	@tests/mutants/run.sh $(ONLY)

.PHONY: load
load: needs_root images ## measure the API under ten times its load; prints what docs/benchmarks.md says of it
	@cargo build --release --locked -p allod
	cargo build --release --locked -p allod-api --example load
	bench/load.py

.PHONY: supply
supply: ## have cargo-deny check licences, bans, minimum versions and sources (deny.toml)
	@tests/supply.sh check

.PHONY: sbom
sbom: ## list what is in the program (CycloneDX, target/sbom/allod.cdx.json)
	@tests/supply.sh sbom

.PHONY: reproducible
reproducible: ## build a release twice, in two folders, and compare every byte
	@tests/supply.sh reproducible

.PHONY: man
man: ## write the manual pages and completions (target/man, target/completions)
	@cargo build --locked -p allod
	mkdir -p "$(target)/completions"
	"$(target)/debug/allod" man "$(target)/man"
	for shell in bash zsh fish; do
		"$(target)/debug/allod" completions $$shell >"$(target)/completions/allod.$$shell"
	done

.PHONY: images
images: ## build the test images from Debian packages (a second run does nothing)
	@tests/setup.sh
	tests/images/build.sh

.PHONY: needs_root
needs_root:
	@[ "$$(id -u)" = 0 ] || {
		echo "This makes namespaces, cgroups and mounts. Next: sudo -E make $(MAKECMDGOALS)" >&2
		exit 1
	}
