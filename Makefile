# `make run` and `make test` install what they need, then do it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test tools format lint house advisories opa unit agreement deny figures policyfigures

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: tools ## build everything, play the demo on 127.0.0.1 and stay up for your own calls
	cargo build --profile quick --locked --package aegis-cli --package aegis-gateway
	exec "$${CARGO_TARGET_DIR:-target}/quick/aegis-gateway" dev $(ARGS)

test: tools format lint house advisories unit ## everything a change must pass

format:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

house: ## layers, rooms, headers, sizes, docs in step
	cargo xtask check

advisories: ## Cargo.lock against the RustSec database, where one is at hand
	cargo xtask advisories

opa: ## fetch real OPA as a library, for the tests that hold our engine against it
	@if ! python3 -m pip --version >/dev/null 2>&1 && [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
	  apt-get update -qq </dev/null; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip </dev/null; fi
	@python3 policies/agreement/opa.py fetch "$${CARGO_TARGET_DIR:-target}/opa" || { \
	  echo "real OPA cannot be had here; the tests that need it are skipped, or fail where CI=true" >&2; \
	  [[ "$${CI:-}" != true ]]; }

unit: opa ## all tests
	@if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --workspace --locked; \
	else \
	  cargo test --workspace --locked; \
	fi

agreement: opa ## real OPA, interpreter and RVM on hostile inputs, with the table of decisions
	cargo test --package aegis-policy-agreement --locked -- --nocapture

policyfigures: opa ## measure a policy decision on three engines; a minute, on a quiet machine
	cargo run --release --package aegis-policy-agreement -- "$${CARGO_TARGET_DIR:-target}/opa/libopabridge.so"

deny: advisories ## licences, bans and sources, where cargo-deny is installed
	@if cargo deny --version >/dev/null 2>&1; then \
	  cargo deny check bans licenses sources; \
	else \
	  echo "skipped: cargo-deny is not installed (cargo install cargo-deny --locked)" >&2; \
	fi

figures: tools ## measure the gateway beside bare Pingora; minutes, on a quiet machine
	cargo build --release --package aegis-gateway --package aegis-loadtest
	cargo run --release --package aegis-loadtest -- figures --work-dir $${CARGO_TARGET_DIR:-target}

tools: ## install missing build tools (as root, on Debian or Ubuntu)
	@command -v cargo >/dev/null || { \
	  echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@missing=(); \
	command -v cmake >/dev/null || missing+=(cmake); \
	command -v cc >/dev/null || missing+=(gcc libc6-dev); \
	command -v c++ >/dev/null || missing+=(g++); \
	if (( $${#missing[@]} == 0 )); then exit 0; fi; \
	if [[ $$(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then \
	  echo "install these first: $${missing[*]}" >&2; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq </dev/null; \
	apt-get install -y -qq --no-install-recommends "$${missing[@]}" </dev/null
