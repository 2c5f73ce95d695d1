# Everything runs on a machine with Python 3.11 and make. `make` alone lists the commands.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3.11
PY := .venv/bin/python
# More than cores: a test mostly waits for a server.
WORKERS ?= 3
# Side by side, a file's tests in one process, files in their order: the longest come first.
SIDE_BY_SIDE = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP := .venv/bin/pip --disable-pip-version-check
READY := .venv/.ready .venv-emulators/.ready
# Google's clients say at every start that this Python will end one day.
export PYTHONWARNINGS ?= ignore:You are using a Python version

.PHONY: help setup deploy-tools demo run ui backfill triggers sql plan doctor up down status test test-large test-deploy \
  test-containers audit lint format bench screenshots lock

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Runs again only when the lock changes. pip compiles the bytecode, without which every
# start of Mage takes ten seconds longer.
.venv/.ready: requirements-dev.txt
	$(PYTHON) -m venv .venv
	@echo "Installing the locked packages: two to three minutes, once"
	$(PIP) install -q --no-deps --require-hashes -r requirements-dev.txt
	$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@

# The emulators of Google Cloud Storage and BigQuery: their packages would not fit mage-ai's pins.
.venv-emulators/.ready: ops/emulators/requirements.txt
	$(PYTHON) -m venv .venv-emulators
	@echo "Installing the emulators of Google's services: about a minute, once"
	.venv-emulators/bin/pip --disable-pip-version-check install -q --no-deps --require-hashes -r $<
	@touch $@

# What checks terraform/: the providers' argument types (read from a wheel), and checkov and pip-audit.
.venv-deploy/.ready: tests/deploy/requirements.txt tests/deploy/provider/requirements.txt
	$(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/pip --disable-pip-version-check install -q --no-deps --require-hashes -r tests/deploy/requirements.txt
	.venv-deploy/bin/pip --disable-pip-version-check download -q --no-deps --require-hashes \
	  -r tests/deploy/provider/requirements.txt -d .venv-deploy/wheels
	@touch $@

.venv-scanners/.ready: tests/deploy/scanners.txt
	$(PYTHON) -m venv .venv-scanners
	.venv-scanners/bin/pip --disable-pip-version-check install -q --no-deps --require-hashes -r $<
	@touch $@

deploy-tools: $(READY) .venv-deploy/.ready .venv-scanners/.ready

setup: $(READY) ## Make .venv and .venv-emulators and install the locked packages

demo: $(READY) ## Fill real tables through real pipelines from synthetic files, and check the numbers
	@$(PY) -m ops.commands.demo

run: $(READY) ## Run a pipeline: make run PIPELINE=api_to_postgres SERVICE=green MONTH=2020-10 ORIGIN=dtc RULES=has_passengers
	@$(PY) -m ops.commands.run run "$(PIPELINE)" SERVICE="$(SERVICE)" MONTH="$(MONTH)" ORIGIN="$(ORIGIN)" RULES="$(RULES)" \
	  EXECUTION_DATE="$(EXECUTION_DATE)" PREFIX="$(PREFIX)"

ui: $(READY) ## Serve Mage's web UI at http://localhost:6789 (Ctrl-C ends it)
	@$(PY) -m ops.commands.run ui

backfill: $(READY) ## Many months through Mage: make backfill PIPELINE=api_to_postgres SERVICE=green FROM=2020-10 TO=2020-12 PARALLEL=2
	@$(PY) -m ops.commands.backfill PIPELINE="$(PIPELINE)" SERVICE="$(SERVICE)" FROM="$(FROM)" TO="$(TO)" PARALLEL="$(PARALLEL)" \
	  ORIGIN="$(ORIGIN)" RULES="$(RULES)" FORCE="$(FORCE)" PREFIX="$(PREFIX)" RETRY="$(RETRY)" SHOW="$(SHOW)"

triggers: $(READY) ## Compare the triggers in code with Mage's: make triggers [REMOVE=orphans] [NEW_TOKEN=api_to_postgres/webhook]
	@$(PY) -m ops.commands.triggers $(if $(filter orphans,$(REMOVE)),--remove-orphans) $(if $(NEW_TOKEN),--new-token "$(NEW_TOKEN)")

sql: $(READY) ## Ask Postgres: make sql Q="select count(*) from ny_taxi.yellow_cab_data"
	@$(PY) -m ops.commands.sql "$(Q)"

plan: $(READY) ## Say what BigQuery would scan, and its price: make plan Q="select count(*) from yellow_cab_data"
	@$(PY) -m ops.commands.plan "$(Q)"

doctor: $(READY) ## Check this machine, the settings and the cloud, a line each, with what to do
	@$(PY) -m ops.commands.doctor

up: $(READY) ## Start this machine's Postgres and emulators of Google's services
	@$(PY) -m ops.stack.stack up

down: ## Stop what runs on this machine; the data stay in .local
	@if [ -x $(PY) ]; then $(PY) -m ops.stack.stack down; fi

status: $(READY) ## Show what runs on this machine
	@$(PY) -m ops.stack.stack status

lint: $(READY) ## Check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: lint ## Check style and types, then run the tests
	$(PY) -m pytest -m "not large and not containers" $(SIDE_BY_SIDE)

test-large: $(READY) ## Run the tests that need 14 M rows
	$(PY) -m pytest -m large

test-deploy: deploy-tools ## Test terraform/ and .github/; make test does it too once this has been run
	$(PY) -m pytest tests/deploy/test_terraform*.py tests/deploy/test_workflows.py $(SIDE_BY_SIDE)

test-containers: $(READY) ## Build the images and test docker-compose.yml; needs Docker with Compose
	$(PY) -m pytest -m containers

audit: $(READY) .venv-scanners/.ready ## Refuse packages with known faults that can be fixed here
	@mkdir -p .local && rm -f .local/audit.json
	-.venv-scanners/bin/pip-audit --disable-pip --require-hashes --no-deps -r requirements.txt --format json \
	  --output .local/audit.json
	$(PY) .github/audit.py .local/audit.json

bench: $(READY) ## Measure speed and memory against psql, the usual way, DuckDB and dlt
	$(PY) -m bench

screenshots: $(READY) ## Make the pictures of the docs anew, from synthetic trips
	$(PY) -m ops.commands.screenshots

format: $(READY) ## Format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lock: $(READY) ## Write every requirements.txt anew
	$(PY) -m uv pip compile pyproject.toml --python-version 3.11 --generate-hashes --no-strip-extras --upgrade \
	  --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.txt
	$(PY) -m uv pip compile pyproject.toml --python-version 3.11 --generate-hashes --no-strip-extras --upgrade \
	  --no-emit-index-url --no-emit-find-links --quiet --extra local --extra test --constraint requirements.txt \
	  --output-file requirements-dev.txt
	$(PY) -m uv pip compile ops/emulators/requirements.in --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-index-url --no-emit-find-links --quiet --output-file ops/emulators/requirements.txt
	for name in requirements scanners; do $(PY) -m uv pip compile tests/deploy/$$name.in --python-version 3.11 \
	  --generate-hashes --upgrade --no-emit-index-url --no-emit-find-links --quiet \
	  --output-file tests/deploy/$$name.txt || exit 1; done
