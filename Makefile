# Start with `make demo` or `make test`; both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard proto/featsvc/v1/*.proto)
PICTURE := featsvc/cli/photographs/coffee.jpg
STAMP := $(VENV)/.installed-dev
PEERS := $(VENV)/.installed-peers
TRIAL := build/dist
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-emit-package featsvc-client
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install lint test test-fast demo serve peers bench oracle robustness fuzz fuzz-matching fuzz-features protos contract lock dist clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 19

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed; try: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(STAMP): requirements/dev.lock pyproject.toml client/pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable client --editable .
	@touch $@

$(PEERS): requirements/peers.lock $(STAMP)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/peers.lock
	@touch $@

install: $(STAMP) ## create .venv with everything `make test` needs, from hashed locks

lint: $(STAMP) ## spelling, style, stubs, contract, import rules, types, Dockerfile
	$(BIN)/typos
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m tests.protos --check
	$(BIN)/python -m tests.contract --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

test: lint ## lint, then all tests, with real stores and a real server
	$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-fast: $(STAMP) ## every package without its slow tests, for the daily loop: under a minute
	$(BIN)/pytest -q -m 'not slow'

demo: $(STAMP) ## screen real photographs and keep them in pictures/
	$(BIN)/featsvc demo --save pictures

serve: $(STAMP) ## run the service with embedded stores on localhost:50051
	@printf '%s\n' 'When it prints "serving on", try in another terminal:' \
	  '  $(BIN)/featsvc bank create known' \
	  '  $(BIN)/featsvc bank add known $(PICTURE)' \
	  '  $(BIN)/featsvc screen $(PICTURE) --account a1' \
	  '  printf '\''{"content": {"data": "%s"}}'\'' "$$(base64 -w0 $(PICTURE))" | \' \
	  '    grpcurl -plaintext -d @ localhost:50051 featsvc.v1.ScreeningService/Screen'
	$(BIN)/featsvc serve --listen 127.0.0.1:50051 --data-dir data

peers: $(PEERS) ## install what benchmarks compare with; needs a C compiler

bench: $(STAMP) ## benchmarks, beside the installed peers; ARGS="-k hashing" runs some
	@mkdir -p build
	$(BIN)/pytest bench --benchmark-json build/bench.json $(ARGS)

oracle: $(PEERS) ## compare PDQ with Meta's pdqhash, bit for bit
	$(BIN)/pytest -q tests/hashing tests/kernels -k pdq

robustness: $(STAMP) ## recall and false matches of hashes, variants and vectors, as table and plot
	$(BIN)/python -m bench.robustness build/robustness

fuzz: $(STAMP) ## decode and hash 20,000 mutated pictures
	$(BIN)/python -m tests.fuzz.media 20000

fuzz-matching: $(STAMP) ## compare 10 minutes of answers with a brute force; ARGS="--seconds 1800 --part shared"
	$(BIN)/python -m tests.fuzz.matching $(ARGS)

fuzz-features: $(STAMP) ## compare 10 minutes of account features with a list of events; ARGS="--seconds 1800 --cluster"
	$(BIN)/python -m tests.fuzz.features $(ARGS)

protos: $(STAMP) ## regenerate the client's stubs from proto/
	$(BIN)/python -m tests.protos

contract: $(STAMP) ## record additions to proto/; refuse changes that break clients
	$(BIN)/python -m tests.contract

lock: ## update requirements/*.lock (needs uv)
	$(COMPILE) --extra dev -o requirements/dev.lock pyproject.toml
	$(COMPILE) -c requirements/dev.lock -o requirements/runtime.lock pyproject.toml
	$(COMPILE) -c requirements/dev.lock -o requirements/client.lock client/pyproject.toml
	$(COMPILE) -c requirements/dev.lock --extra dev --extra peers -o requirements/peers.lock pyproject.toml
	echo hatchling | $(COMPILE) -c requirements/dev.lock -o requirements/build.lock -

dist: $(STAMP) ## build wheels and sdists into dist/ and try them in empty environments
	rm -rf dist $(TRIAL)
	cd client && $(CURDIR)/$(BIN)/hatchling build -d $(CURDIR)/dist
	$(BIN)/hatchling build -d dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(TRIAL) dist/*.tar.gz
	$(call try,client,featsvc_client-*.whl)
	cd $(TRIAL) && client/bin/python -c 'from featsvc_client import AsyncClient, Client'
	$(call try,runtime,*.whl)
	cd $(TRIAL) && runtime/bin/featsvc --version && runtime/bin/featsvc doctor && runtime/bin/featsvc demo

# $(call try,NAME,WHEELS): install WHEELS and requirements/NAME.lock into an empty environment.
define try
$(PYTHON) -m venv $(TRIAL)/$(1)
$(TRIAL)/$(1)/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/$(1).lock
$(TRIAL)/$(1)/bin/python -m pip install --quiet --no-deps $(TRIAL)/$(2)
$(TRIAL)/$(1)/bin/python -m pip check
endef

clean: ## remove everything that the targets above created
	rm -rf $(VENV) build dist pictures .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
