# SPDX-License-Identifier: Apache-2.0
# make help tells what there is. `make run` and `make test` are all that a newcomer needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

venv := .venv
python := $(venv)/bin/python
stamps := build/stamps
# What the user adds: make run ARGS="--set ring.size=16MiB", make test TESTS=tests/unit/test_config.py
ARGS ?=
TESTS ?= tests
# Which kernels make test-vm boots (none named: all that tests/vm/kernels.py knows), with which drivers, and which tests.
VM_KERNELS ?=
VM_DRIVERS ?= core bcc kmod none
VM_TESTS ?= tests/vm
# Programs of the system that a user's PATH may lack (bpftool, nginx).
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

contract := $(wildcard probes/include/*.h)
engine_sources := $(wildcard analyzers/native/*.[ch] analyzers/native/protocols/*.[ch]) analyzers/native/Makefile $(contract)
kernel_sources := $(wildcard probes/ebpf/*.[ch] probes/Makefile probes/*.py) $(contract)
c_files = $(shell git ls-files '*.c' '*.h')
shell_files := .ci/run $(wildcard scripts/*.sh deploy/images/*.sh probes/kmod/*.sh)

.PHONY: help
help: ## what there is
	@printf 'Firesteel. The two commands to know are make run and make test.\n\n'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 18

# --- what a newcomer types ---------------------------------------------------------------------------------------

.PHONY: run
run: build ## build what is stale, then watch this machine (as root) or the bundled demo recording
	@$(venv)/bin/firesteel run --demo-if-unprivileged --set log.format=text --set samples.normal=1.0 $(ARGS)

.PHONY: test
test: test-ready ## all tests but the virtual machines'; what this machine cannot run is named at the end. TESTS=path, ARGS="-k word"
	@trap 'scripts/setup.sh give-back' EXIT; $(python) -m pytest $(if $(findstring tests/vm,$(TESTS)),,--ignore=tests/vm) \
		$(if $(findstring tests/grafana,$(TESTS)),,--ignore=tests/grafana) \
		$(if $(findstring tests/deploy,$(TESTS)),,--ignore=tests/deploy) $(TESTS) $(ARGS)

.PHONY: test-unit test-replay test-live test-kernel
test-unit test-replay test-live test-kernel: test-%: test-ready ## one group of the tests
	@trap 'scripts/setup.sh give-back' EXIT; $(python) -m pytest tests/$* $(ARGS)

.PHONY: test-cluster
test-cluster: test-ready ## names of a cluster on this machine (as root). FIRESTEEL_REAL_API=1 against a real API server: make kube-api first
	@trap 'scripts/setup.sh give-back' EXIT; $(python) -m pytest tests/cluster $(ARGS)

.PHONY: kube-api
kube-api: $(stamps)/venv-dev ## etcd, kube-apiserver and its controllers for test-cluster and test-deploy, built once into the user's cache (needs Go, half an hour)
	@$(python) -m tests.cluster.real_api

.PHONY: test-vm
test-vm: test-ready packages-vm ## every driver on every kernel, in virtual machines. VM_KERNELS="5.10 newest", VM_DRIVERS="core bcc", ARGS="-k bcc"
	@trap 'scripts/setup.sh give-back' EXIT; FIRESTEEL_VM_KERNELS="$(VM_KERNELS)" FIRESTEEL_VM_DRIVERS="$(VM_DRIVERS)" \
		$(python) -m pytest $(VM_TESTS) $(ARGS)

.PHONY: demo
demo: build packages-demo ## a shop of real services, agent, Prometheus and (if there is one) Grafana, until Ctrl-C (as root). ARGS="--first-port 22000"
	@trap 'scripts/setup.sh give-back' EXIT; $(python) -m scripts.demo $(ARGS)

.PHONY: doctor
doctor: build ## what this machine's kernel allows, and what to do about the rest
	@$(venv)/bin/firesteel doctor $(ARGS)

# --- this machine ------------------------------------------------------------------------------------------------

.PHONY: packages-run packages-test packages-lint packages-demo packages-vm
packages-run packages-test packages-lint packages-demo packages-vm: packages-%:
	@scripts/setup.sh packages $*

$(stamps)/venv-run: requirements.txt pyproject.toml scripts/setup.sh | packages-run
	@scripts/setup.sh venv run

$(stamps)/venv-dev: requirements-dev.txt requirements.txt pyproject.toml scripts/setup.sh | packages-run
	@scripts/setup.sh venv dev

# Which Python the compiled modules are for: written by setup.sh, and only when it changes.
$(stamps)/python: | $(stamps)/venv-run
	@test -f $@ || scripts/setup.sh venv run

.PHONY: test-ready
test-ready: packages-run packages-test $(stamps)/venv-dev build $(stamps)/engine-asan

# --- building ----------------------------------------------------------------------------------------------------

.PHONY: build
build: packages-run $(stamps)/venv-run $(stamps)/engine $(stamps)/native $(stamps)/parsers $(stamps)/probes ## everything compiled, if stale
	@scripts/setup.sh give-back

$(stamps)/engine: $(engine_sources) | $(stamps)/venv-run
	@echo 'building firesteel-engine'
	@$(MAKE) --silent --no-print-directory -C analyzers/native
	@touch $@

# For the tests that run it as a process: built here, because one test's time is not enough for it.
$(stamps)/engine-asan: $(engine_sources) | $(stamps)/venv-run
	@echo 'building firesteel-engine with sanitizers'
	@$(MAKE) --silent --no-print-directory -j2 -C analyzers/native ASAN=1
	@touch $@

# cffi writes the name of a temporary file to stdout; faults go to stderr.
$(stamps)/native: $(engine_sources) analyzers/native/build_ffi.py $(stamps)/python | $(stamps)/venv-run
	@echo 'building analyzers._native'
	@$(python) analyzers/native/build_ffi.py >/dev/null
	@touch $@

$(stamps)/parsers: $(engine_sources) analyzers/native/build_parsers_ffi.py $(stamps)/python | $(stamps)/venv-run
	@echo 'building analyzers._parsers'
	@$(python) analyzers/native/build_parsers_ffi.py >/dev/null
	@touch $@

$(stamps)/probes: $(kernel_sources) $(stamps)/python | $(stamps)/venv-run
	@echo 'building the BPF programs and probes._libbpf'
	@$(MAKE) --silent --no-print-directory -C probes PYTHON=$(abspath $(python))
	@touch $@

.PHONY: clean
clean: ## remove what was built, but not the environment
	@$(MAKE) --no-print-directory -C analyzers/native clean
	@$(MAKE) --no-print-directory -C probes clean
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f analyzers/_native*.so analyzers/_parsers*.so probes/_libbpf*.so

.PHONY: distclean
distclean: clean ## remove the environment as well
	rm -rf $(venv) *.egg-info

# --- quality -----------------------------------------------------------------------------------------------------

.PHONY: lint
lint: packages-lint $(stamps)/venv-dev lint-ruff lint-types lint-layers lint-c lint-shell ## every linter and formatter, changing nothing

.PHONY: lint-ruff lint-types lint-layers lint-c lint-shell
lint-ruff: $(stamps)/venv-dev
	$(venv)/bin/ruff check .
	$(venv)/bin/ruff format --check .

lint-types: $(stamps)/venv-dev
	$(venv)/bin/mypy

lint-layers: $(stamps)/venv-dev
	$(venv)/bin/lint-imports --no-cache

lint-c: $(stamps)/venv-run
	clang-format --dry-run --Werror $(c_files)
	$(python) scripts/lint-protocols.py
	scripts/tidy.sh

lint-shell:
	shellcheck $(shell_files)

.PHONY: format
format: packages-lint $(stamps)/venv-dev ## let the formatters settle it
	$(venv)/bin/ruff check --fix-only --quiet .
	$(venv)/bin/ruff format .
	clang-format -i $(c_files)

.PHONY: fuzz
fuzz: build ## parsers and event decoding under sanitizers, FUZZ_SECONDS each (60) or FUZZ_INPUTS
	@scripts/fuzz.sh

.PHONY: otelcol
otelcol: build/otelcol/otelcol ## an OpenTelemetry Collector for the tests that push to a real one (needs Go)

build/otelcol/otelcol: tests/otelcol.yaml
	@command -v go >/dev/null || { echo 'make otelcol needs Go 1.23 or later: https://go.dev/doc/install' >&2; exit 1; }
	GOBIN=$(abspath build/bin) go install go.opentelemetry.io/collector/cmd/builder@v0.120.0
	GOFLAGS=-buildvcs=false build/bin/builder --config tests/otelcol.yaml

jaeger := github.com/jaegertracing/jaeger@v1.65.0

.PHONY: jaeger
jaeger: build/jaeger/all-in-one ## a trace store for the tests that push to a real one (needs Go; ten minutes)

build/jaeger/all-in-one:
	@command -v go >/dev/null || { echo 'make jaeger needs Go 1.23 or later: https://go.dev/doc/install' >&2; exit 1; }
	@rm -rf build/jaeger && mkdir -p build/jaeger
	cp -r "$$(go mod download -json $(jaeger) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p')" build/jaeger/source
	chmod -R u+w build/jaeger/source
	cd build/jaeger/source && GOFLAGS=-buildvcs=false go build -o ../all-in-one ./cmd/all-in-one
	rm -rf build/jaeger/source

.PHONY: bench
bench: packages-test $(stamps)/venv-dev build $(stamps)/plugin $(stamps)/plugin-harness ## the budgets, measured here (as root), into docs/benchmarks.md. BENCH_QUICK=1 for minutes less
	@$(python) -m bench $(ARGS)

.PHONY: bench-scale
bench-scale: $(stamps)/venv-dev build ## what the names of 10 000 pods cost agent, names service and API server, into docs/scale.md
	@$(python) -m bench.scale $(ARGS)

# --- Grafana -----------------------------------------------------------------------------------------------------

plugin := grafana-plugin
plugin_sources = $(if $(wildcard $(plugin)/src),$(shell find $(plugin)/src -type f)) $(plugin)/package-lock.json $(plugin)/webpack.config.mjs LICENSE \
	$(plugin)/README.md $(plugin)/CHANGELOG.md $(wildcard docs/img/grafana/*.png)
harness_sources = $(wildcard $(plugin)/harness/*.tsx) $(plugin)/package-lock.json $(plugin)/webpack.harness.mjs

$(stamps)/plugin-modules: $(plugin)/package-lock.json | packages-test
	@cd $(plugin) && npm install --no-save --no-progress # npm ci wants the registry in the lock file
	@mkdir -p $(stamps) && touch $@

$(stamps)/plugin: $(plugin_sources) | $(stamps)/plugin-modules
	@cd $(plugin) && npm run --silent build
	@touch $@

$(stamps)/plugin-harness: $(harness_sources) | $(stamps)/plugin-modules
	@cd $(plugin) && npm run --silent harness
	@touch $@

.PHONY: grafana-plugin
grafana-plugin: $(stamps)/plugin $(stamps)/venv-run ## the topology panel as archives for Grafana's plugin folder, in build/grafana
	@$(python) scripts/package-plugin.py $(plugin)/dist build/grafana

.PHONY: dashboards
dashboards: $(stamps)/venv-run ## write dashboards and alert rules out of the registry
	@$(python) -m exporters.grafana

.PHONY: lint-grafana
lint-grafana: $(stamps)/plugin-modules
	@cd $(plugin) && npm run --silent typecheck && npm run --silent lint

.PHONY: test-grafana
test-grafana: $(stamps)/plugin $(stamps)/plugin-harness test-ready ## panel, dashboards, rules: jest, Prometheus, a browser
	@cd $(plugin) && npm test --silent
	@$(python) -m pytest tests/grafana $(ARGS)

.PHONY: soak
soak: packages-test $(stamps)/venv-dev build ## an hour under load (as root): memory, descriptors, threads, counts; into docs/soak.md. ARGS="--seconds 60 --out build"
	@$(python) -m bench.soak $(ARGS)

# --- Kubernetes --------------------------------------------------------------------------------------------------

.PHONY: helm
helm: build/bin/helm ## the Helm that the chart's tests and make manifests use (needs Go)

build/bin/helm:
	@command -v go >/dev/null || { echo 'make helm needs Go 1.22 or later: https://go.dev/doc/install' >&2; exit 1; }
	GOBIN=$(abspath build/bin) GOFLAGS= go install helm.sh/helm/v3/cmd/helm@v3.16.4

.PHONY: manifests
manifests: build/bin/helm $(stamps)/venv-run ## write deploy/manifests out of the chart
	@$(python) scripts/render-manifests.py

.PHONY: image-rootfs
image-rootfs: build ## the root of the small image, in build/image: what its Dockerfile makes, without a container engine
	@rm -rf build/image && deploy/images/build.sh build/image

.PHONY: image
image: ## both images, by docker, podman or buildah: make image BASE=debian@sha256:... [IMAGE=firesteel] [PLATFORM=linux/arm64] [ARCHIVE=http://...]
	@deploy/images/images.sh "$(BASE)" "$(or $(IMAGE),firesteel)" "$(PLATFORM)" "$(ARCHIVE)"

.PHONY: kubectl-plugin
kubectl-plugin: ## kubectl firesteel as one file, and the archive and manifest for krew, in build/kubectl. ARGS=where it will be downloaded from
	@python3 scripts/package-kubectl-plugin.py build/kubectl $(ARGS)

.PHONY: test-deploy
test-deploy: build/bin/helm test-ready ## chart, manifests, kubectl firesteel, the container's environment. FIRESTEEL_REAL_API=1: also on a real API server
	@trap 'scripts/setup.sh give-back' EXIT; $(python) -m pytest tests/deploy $(ARGS)

# --- documents and dependencies ----------------------------------------------------------------------------------

.PHONY: docs
docs: build ## write the pages that come out of the code's own tables
	@scripts/generate-docs.sh

.PHONY: docs-check
docs-check: build ## fail if a generated page is not what the code says
	@scripts/generate-docs.sh --check

.PHONY: docs-site
docs-site: $(stamps)/venv-dev ## the documentation as a site, in build/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(venv)/bin/mkdocs build --quiet --strict
	@echo 'docs: build/site/index.html'

compile := CUSTOM_COMPILE_COMMAND='make lock' $(venv)/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header

.PHONY: lock
lock: $(stamps)/venv-dev ## pin the newest allowed versions of all dependencies, with hashes. ARGS=--upgrade
	@mkdir -p build
	@for name in requirements requirements-dev; do \
		cp $$name.txt build/$$name.txt; \
		$(compile) $(ARGS) --output-file $$name.txt $$name.in; \
		{ printf '# SPDX-License-Identifier: Apache-2.0\n# Made by make lock from %s.in. Do not edit.\n' $$name; \
		  grep -v '^# \(SPDX\|Made by\)' $$name.txt; } >build/$$name.new; \
		mv build/$$name.new $$name.txt; \
	done
