# Two commands are all that a fresh machine needs: `make run` and `make test`. Python 3.11 or newer and make are
# all that must be there already.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Tests wait for servers half of their time, so three at once keep two processors busy.
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help run install test check format bench bench-stats bench-registry bench-production bench-proofs bench-receipts bench-telemetry bench-gateway bench-import chaos chaos-short faults openapi-check kills lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## Install what is needed and serve everything on one port
	@exec $(BIN)/llmring-api serve

install: $(VENV)/.installed ## Install what is needed to run

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 run" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# Tests start hundreds of processes. Without compiled files each of them compiles everything anew.
test chaos chaos-short faults kills: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/.installed-dev ## Run every test; says loudly what this machine cannot run
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadgroup --ignore tests/faults $(ARGS)

check: $(VENV)/.installed-dev ## Lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mypy --config-file client/pyproject.toml
	cd client/src && $(abspath $(BIN))/lint-imports ../pyproject.toml

format: $(VENV)/.installed-dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev ## Measure against the reference server, in one run
	$(BIN)/python -m bench.log_throughput

bench-stats: $(VENV)/.installed-dev ## Measure statistics over a million records
	$(BIN)/python -m bench.stats_over_rows

bench-registry: $(VENV)/.installed-dev ## Measure reads of the registry, against an empty handler, and filters
	$(BIN)/python -m bench.registry_reads
	$(BIN)/python -m bench.registry_filters

bench-production: $(VENV)/.installed-dev ## Measure the production pipeline, from request to receipt
	$(BIN)/python -m bench.production_pipeline

bench-receipts: $(VENV)/.installed-dev ## Measure the issuing of receipts, against its floor
	$(BIN)/python -m bench.receipts_issue

bench-proofs: $(VENV)/.installed-dev ## Measure proofs from a receipts' log of ten million leaves
	$(BIN)/python -m bench.receipts_proofs

bench-gateway: $(VENV)/.installed-dev ## Measure what authentication and limits cost, and limits while Redis is away
	$(BIN)/python -m bench.gateway_cost
	$(BIN)/python -m bench.limits_without_redis

bench-import: $(VENV)/.installed-dev ## Measure an import of a million records, killed and resumed in the middle
	$(BIN)/python -m bench.import_million

bench-telemetry: $(VENV)/.installed-dev ## Measure what metrics and traces cost
	$(BIN)/python -m bench.telemetry_overhead

chaos: $(VENV)/.installed-dev ## Break the whole deployment for half an hour: make SEED=1 MINUTES=30 chaos
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --minutes $(or $(MINUTES),30)

chaos-short: $(VENV)/.installed-dev ## Every kind of fault once, in under five minutes: make SEED=1 chaos-short
	SEED=$(SEED) $(BIN)/pytest -n0 -s -m chaos tests/chaos

faults: $(VENV)/.installed-dev ## Fail every outside call of ingest, rater and issuer, once each: make FAULTS=all faults
	LLMRING_FAULTS=$(FAULTS) $(BIN)/pytest --numprocesses 2 --dist loadgroup tests/faults

openapi-check: $(VENV)/.installed-dev ## Try thousands of generated requests on every path: make EXAMPLES=200 SEED=1 openapi-check
	$(if $(SEED),LLMRING_OPENAPI_SEED=$(SEED)) LLMRING_TEST_EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/pytest -n0 -s tests/live/test_openapi.py

kills: $(VENV)/.installed-dev ## Kill the issuer fifty times at work: make SEED=1 KILLS=50 kills
	$(if $(SEED),LLMRING_TEST_SEED=$(SEED)) LLMRING_KILLS=$(or $(KILLS),50) $(BIN)/pytest -n0 tests/receipts/test_kills.py

lock: $(VENV)/.installed-dev ## Pin the dependencies anew
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml -o requirements.lock --generate-hashes --universal --python-version 3.11 --no-header --quiet
	$(BIN)/uv pip compile pyproject.toml --group dev -o requirements-dev.lock --generate-hashes --universal --python-version 3.11 --no-header --quiet
	cd deploy/image && $(abspath $(BIN))/uv pip compile build.in -o build.lock --generate-hashes --universal --python-version 3.11 --no-header --quiet

clean: ## Remove what was built (never the data directory)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
