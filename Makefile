# `make help` lists the targets. As root: the demo and the tests run containers.

# dev or release. The demo and the tests work with both; `make install` always takes release.
PROFILE ?= dev
PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

target_dir = $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
cargo_flags = --locked --profile $(PROFILE)
book_dir = $(abspath $(dir $(target_dir)))/book

# Nothing is silent for a minute: what may be is run by it.
alive = .ci/alive
# An own program of the integration package: built with cargo's messages, run without.
run = $(CARGO) run $(cargo_flags) --quiet --package podhook-integration --bin
build_bin = $(alive) $(CARGO) build $(cargo_flags) --package podhook-integration --bin

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: deps
deps: ## Install what is needed from Debian's packages, if anything is missing
	@$(alive) .ci/deps

.PHONY: deps-packages
deps-packages: ## Install what making and judging packages needs, too
	@$(alive) .ci/deps packages

.PHONY: build
build: deps ## Build the shim and podhook into target/ (PROFILE=release for optimised ones)
	$(alive) $(if $(filter release,$(PROFILE)),.ci/optimised,$(CARGO) build $(cargo_flags) --package containerd-shim-podhook-v1 --package podhook)

.PHONY: images
images: deps ## Build the test images, and fetch or build the other containerd generations and promtool, into .cache/
	$(alive) integration/images/build
	$(alive) integration/containerd-generations
	$(alive) integration/criu
	$(alive) integration/promtool
	$(alive) integration/upstream/build containerd-2.3 containerd-2.4 runc-1.4 runc-1.5

.PHONY: upstream
upstream: deps ## Build upstream's programs from their Go modules into .cache/upstream (NAMES="runc-1.5 etcd" for some)
	$(alive) integration/upstream/build $(NAMES)

.PHONY: demo
demo: build ## Run the three lifecycle pods of the Kubernetes tutorial on a private containerd
	$(alive) integration/images/build
	$(build_bin) demo
	$(run) demo

.PHONY: test
test: ## Run all tests: each part, whatever came of the one before, and then what failed
	@.ci/parts $(MAKE) test-unit test-integration test-v2

.PHONY: runtimes
runtimes: deps ## Fetch or build the other generations of runc and crun into .cache/
	$(alive) hooks/tests/runtimes
	$(alive) integration/upstream/build runc-1.4 runc-1.5

.PHONY: exec-equality
exec-equality: ## Write the table of docs/exec-equality.md from the tests
	PODHOOK_WRITE_DOCS=1 $(CARGO) test $(cargo_flags) --package podhook-hooks --test exec_equality -- document

.PHONY: test-unit
test-unit: runtimes ## Run the tests that need no containerd
	@status=0; \
	$(alive) $(CARGO) test $(cargo_flags) --workspace --exclude podhook-integration --no-fail-fast || status=1; \
	$(alive) $(CARGO) test $(cargo_flags) --package podhook-integration --lib || status=1; \
	exit $$status

.PHONY: test-integration
test-integration: build images ## Run the tests on real containerds (PODHOOK_MATRIX="1.7/podhook 2/runc" for others)
	$(alive) $(CARGO) test $(cargo_flags) --package podhook-integration --tests --no-fail-fast

.PHONY: test-matrix
test-matrix: build images ## Run the parity tests on every combination and write docs/compatibility-matrix.md
	rm -rf $(target_dir)/matrix
	-PODHOOK_MATRIX="$${PODHOOK_MATRIX:-all}" PODHOOK_RESULTS=$(abspath $(target_dir))/matrix \
		$(CARGO) test $(cargo_flags) --package podhook-integration --test parity
	$(build_bin) compatibility-table
	$(run) compatibility-table $(target_dir)/matrix > docs/compatibility-matrix.md

# What critest runs on: GENERATIONS="1.6 2.4" for some, "2.4+runc-1.1" with another runc.
GENERATIONS ?=

.PHONY: conformance
conformance: build images ## Run critest with the original shim and with podhook, side by side (GENERATIONS=2.4 for one, 2.4+runc-1.1)
	$(alive) integration/upstream/build cri-tools crane
	$(build_bin) conformance
	$(alive) $(run) conformance -- $(GENERATIONS)

.PHONY: test-v2
test-v2: build images runtimes ## Run the cgroup v2 tests in emulated machines (FILTER=oom:: for some)
	$(build_bin) machine
	$(alive) $(run) machine -- $(FILTER)

# SEED, which a run prints, makes it again; ONLY="exec/joiner delete-verb/shim" some of it; PLACES="2.4/podhook 2.4/runc" where;
# ROUNDS=3 does it three times, with one seed after the other; WRITE=1 writes docs/evidence/chaos.md.
chaos_flags = $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(addprefix --only ,$(ONLY)) \
	$(if $(WRITE),--write) $(PLACES)

.PHONY: chaos
chaos: build images ## Kill every part of a container at every phase of its life (SEED=, ONLY=exec/shim, PLACES=2.4/podhook)
	$(build_bin) chaos
	$(alive) $(run) chaos -- $(chaos_flags)

.PHONY: chaos-short
chaos-short: build images ## The same with one victim for each phase
	$(build_bin) chaos
	$(alive) $(run) chaos -- --short $(chaos_flags)

# DEPTH: how many calls of a kind fail in an operation, from the first; ONLY="exec kill/openat" for some of them.
refusal_flags = $(if $(SEED),--seed $(SEED)) $(if $(DEPTH),--depth $(DEPTH)) $(addprefix --only ,$(ONLY)) \
	$(if $(WRITE),--write) $(PLACES)

.PHONY: refusal
refusal: build images ## Let every system call of the shim that can fail fail in turn (DEPTH=1, ONLY=exec/openat, PLACES=2.4/podhook-v1)
	$(build_bin) refusal
	$(alive) $(run) refusal -- $(refusal_flags)

.PHONY: refusal-short
refusal-short: SEED ?= 1
refusal-short: build images ## The same with a sample of them, always the same one (SEED=2 for another)
	$(build_bin) refusal
	$(alive) $(run) refusal -- --short $(refusal_flags)

# MINUTES for each of PLACES; WRITE=1 writes docs/evidence/soak.md and its picture, PROFILE=release is what is published.
MINUTES ?= 30

.PHONY: soak
soak: build images ## Many containers at a time for MINUTES=30, podhook and the original, and look whether anything grows
	$(build_bin) soak
	$(alive) $(run) soak -- --minutes $(MINUTES) $(if $(WRITE),--write) $(PLACES)

.PHONY: soak-short
soak-short: MINUTES = 2
soak-short: PLACES = 2.4/podhook
soak-short: soak ## The same for two minutes, podhook alone

# What a node of Kubernetes is made of: KUBERNETES="1.36 1.37" tests both, SHIM is that of pods without a RuntimeClass.
KUBERNETES ?= 1.37
SHIM ?= podhook
node_programs = etcd crane helm containerd-2.4 runc-1.5 $(addprefix kubernetes-,$(KUBERNETES))

.PHONY: test-kubernetes
test-kubernetes: build ## Run the tests under a real kubelet with a control plane (KUBERNETES=1.36, FILTER=restart::)
	$(alive) integration/images/build
	$(alive) integration/upstream/build $(node_programs)
	PODHOOK_KUBERNETES="$(KUBERNETES)" \
		$(CARGO) test $(cargo_flags) --package podhook-integration --test kubernetes -- $(FILTER)

.PHONY: test-kubelet
test-kubelet: ## Run the shorter ones of them that are about podhook's own hooks, on the newest Kubernetes
	@$(MAKE) --no-print-directory test-kubernetes KUBERNETES=1.37 \
		FILTER="1.37/podhook/ --skip failures:: --skip probes:: --skip nodes:: --skip jobs:: --skip fields:: --skip resize:: --skip deploy:: --skip agent::"

# An answer of its API server's may take longer than kubectl waits: what fails is run once more.
.PHONY: test-kubernetes-v2
test-kubernetes-v2: build images ## Run those of pods without a pause container in an emulated machine with cgroup v2 (FILTER=podhook/tutorial:: for others)
	$(alive) integration/upstream/build $(node_programs)
	$(build_bin) machine
	PODHOOK_AGAIN=3 $(alive) $(run) machine -- --kubernetes $(FILTER)

.PHONY: cluster
cluster: build ## Run a node of Kubernetes to try things by hand, until Ctrl-C (KUBERNETES=1.36, SHIM=runc)
	$(alive) integration/images/build
	$(alive) integration/upstream/build $(node_programs)
	$(build_bin) cluster
	$(run) cluster -- $(KUBERNETES) $(SHIM)

# Benchmarks are of optimised programs.
bench bench-report: PROFILE = release

# PLACES="2.4 2.4+crun" where, PARTS="cold alone" what of it, ROUNDS how often (25), LONG=1 as much as the goals name; WRITE=1 writes
# docs/evidence/bench.json and what is made of it.
bench_flags = $(addprefix --part ,$(PARTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(LONG),--long) $(if $(WRITE),--write) $(PLACES)

.PHONY: bench
bench: build images ## Measure podhook beside the original and the published Rust shim (PARTS="cold alone", PLACES=2.4, ROUNDS=5, WRITE=1)
	$(alive) integration/rust-shim
	$(build_bin) bench
	$(alive) $(run) bench -- $(bench_flags)

.PHONY: bench-report
bench-report: ## Write the documents of make bench from docs/evidence/bench.json alone
	$(build_bin) bench
	$(run) bench -- report

.PHONY: bench-check
bench-check: images ## Count the optimised shim's instructions, and measure ratios, beside integration/bench/check.json (WRITE=1 writes it)
	$(alive) integration/valgrind
	$(alive) .ci/optimised containerd-shim-podhook-v1
	$(build_bin) bench
	PODHOOK_SHIM=$(abspath $(dir $(target_dir)))/release/containerd-shim-podhook-v1 \
		$(alive) $(run) bench -- check $(if $(WRITE),--write)

# How long each target is fuzzed; TARGET=annotation for one of fuzz/fuzz_targets.
SECONDS ?= 3600
TARGET ?=

.PHONY: fuzz
fuzz: deps ## Fuzz what reads input from outside, an hour each (SECONDS=60, TARGET=annotation for one)
	$(alive) fuzz/run $(SECONDS) $(TARGET)

.PHONY: fuzz-short
fuzz-short: deps ## The same, built quickly, some seconds each, from the same beginning (SEED=2 for another)
	SEED=$(or $(SEED),1) $(alive) fuzz/run short $(TARGET)

.PHONY: fuzz-tables
fuzz-tables: ## Write the tables of what Go makes of URLs and quantities, fuzz/go/*.jsonl (needs Go)
	cd fuzz/go && go run . .

.PHONY: miri
miri: ## Run the unit tests that make no system calls in Miri (needs a nightly Rust with miri)
	$(alive) .ci/memory miri

.PHONY: sanitize
sanitize: deps ## Run the tests of engine and reaper with the address and thread sanitizers (needs a nightly Rust with rust-src)
	$(alive) .ci/memory address
	$(alive) .ci/memory thread

.PHONY: valgrind
valgrind: deps ## Run the unit tests of shim and engine in valgrind: memory and file descriptors (needs valgrind)
	$(alive) .ci/memory valgrind

.PHONY: book
book: build ## Build the documentation as a book into target/book, and follow its links
	$(build_bin) book-links
	$(alive) docs/book/build $(target_dir)/podhook $(book_dir)
	$(run) book-links -- $(book_dir)

# SHOTS=FOLDER for a picture of each page.
.PHONY: check-book
check-book: book ## Open every page of the book at a phone's width in Debian's Chromium, which is not installed
	$(alive) docs/book/check $(book_dir) $(SHOTS)

.PHONY: pictures
pictures: ## Draw docs/pictures/*.svg from their texts (the state machine's comes from the code)
	PODHOOK_WRITE_DOCS=1 $(CARGO) test $(cargo_flags) --package podhook-hooks --test sequence_picture
	docs/pictures/draw

.PHONY: configuration
configuration: ## Write the table of docs/configuration.md from what the keys say of themselves
	PODHOOK_WRITE_DOCS=1 $(CARGO) test $(cargo_flags) --package podhook-hooks --test config

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check: ## Check the format
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy: deps ## Lint; every warning is an error
	$(alive) $(CARGO) clippy --locked --workspace --all-targets -- --deny warnings

.PHONY: deny
deny: ## Check the licences, sources and advisories of the dependencies
	@$(alive) .ci/deny

.PHONY: install
install: deps ## Build optimised and install the shim and podhook into PREFIX/bin (default /usr/local)
	$(alive) .ci/optimised
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(dir $(target_dir))release/containerd-shim-podhook-v1 $(dir $(target_dir))release/podhook $(DESTDIR)$(PREFIX)/bin
	ln -sf podhook $(DESTDIR)$(PREFIX)/bin/kubectl-podhook

.PHONY: release
release: deps-packages ## Build what is released into target/podhook: programs, packages, SBOMs, hashes
	$(alive) .ci/release $(abspath $(dir $(target_dir)))/podhook

.PHONY: package
package: deps-packages build ## Make a .deb and an .rpm of what is built into target/packages (PROFILE=release for optimised programs)
	$(alive) .ci/package $(target_dir) $(abspath $(dir $(target_dir)))/packages $(shell dpkg --print-architecture)

.PHONY: test-packages
test-packages: deps-packages build images ## Install, upgrade and remove packages beside containers that run
	$(alive) .ci/package-tools
	$(alive) $(CARGO) test $(cargo_flags) --package podhook-integration --test packages

# SUITES="trixie testing" for some of bookworm, trixie and testing.
SUITES ?=

.PHONY: test-arm64
test-arm64: deps-packages ## Build for arm64, and run what qemu's emulation of a process can: NO HOOK RUNS IN IT (FILTER=journal for some)
	$(alive) .ci/arm64 $(FILTER)

.PHONY: test-debian
test-debian: deps-packages build ## Install, upgrade and remove the .deb on fresh Debians with systemd, in emulated machines (SUITES=trixie)
	$(alive) integration/images/build
	$(alive) .ci/package-tools
	$(build_bin) machine
	$(alive) $(run) machine -- --debian $(SUITES)

.PHONY: reproducible
reproducible: deps-packages ## Build what is committed twice, in two folders, and compare the programs and packages
	$(alive) .ci/reproducible

.PHONY: sbom
sbom: ## Write what is in the optimised programs as CycloneDX beside them (after make build PROFILE=release)
	for package in containerd-shim-podhook-v1 podhook; do \
		.ci/sbom $$package $(dir $(target_dir))release/$$package > $(dir $(target_dir))release/$$package.cdx.json || exit 1; \
	done

.PHONY: uninstall
uninstall: ## Remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/containerd-shim-podhook-v1 $(DESTDIR)$(PREFIX)/bin/podhook $(DESTDIR)$(PREFIX)/bin/kubectl-podhook

.PHONY: clean
clean: ## Remove what was built; the downloads in .cache/ stay
	$(CARGO) clean

.PHONY: distclean
distclean: clean ## Remove the downloads too
	rm -rf .cache
