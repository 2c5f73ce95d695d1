# Everything runs on a machine with Python 3.11 or 3.12 and make. `make` alone lists the commands.
.DEFAULT_GOAL := help
SHELL := /bin/sh
# Another Python than the first of python3.11, python3.12 and python3 that fits: make setup PYTHON=/its/path
PYTHON ?=
PY := .venv/bin/python
# More than cores: a test mostly waits for a server.
WORKERS ?= 3
# Side by side, a file's tests in one process; tests/conftest.py says which files share one, and which come first.
SIDE_BY_SIDE = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
READY := .venv/.ready .venv-emulators/.ready
# Of the .venv, installed or not: what `taxi` is once .venv/bin is on the PATH.
TAXI := $(PY) -m ops.cli
# Google's clients say at every start that this Python will end one day.
export PYTHONWARNINGS ?= ignore:You are using a Python version

.PHONY: help setup deploy-tools demo run ui backfill triggers sql plan doctor up down status test streaming test-large test-chaos test-fuzz test-soak test-deploy \
  test-containers audit lint format bench screenshots lock

# What a command line may set, beside the settings of dev.env: for every target, and for one.
FOR_run := PIPELINE SERVICE MONTH ORIGIN RULES EXECUTION_DATE PREFIX
FOR_backfill := PIPELINE SERVICE FROM TO PARALLEL ORIGIN RULES FORCE PREFIX RETRY SHOW
FOR_triggers := REMOVE NEW_TOKEN
FOR_sql := Q
FOR_plan := Q
FOR_up := TRIPS
FOR_lock := UPGRADE
KNOWN := PYTHON WORKERS PYTHONWARNINGS NYC_TAXI_LOCAL_DIR MAGE_DATA_DIR MAGE_DATABASE_CONNECTION_URL SHELL MAKEFLAGS PY TAXI \
  UV_% PIP_% %_PROXY %_proxy $(foreach goal,$(MAKECMDGOALS),$(FOR_$(goal))) $(shell sed -n 's/^\([A-Z][A-Z_]*\)=.*/\1/p' dev.env)
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNKNOWN := $(if $(MAKEOVERRIDES),$(filter-out $(KNOWN),$(GIVEN)))
ifneq ($(UNKNOWN),)
OTHERS := $(foreach goal,run backfill triggers sql plan up lock,$(FOR_$(goal)))
NEAREST := $(if $(filter-out $(OTHERS),$(firstword $(UNKNOWN))),$(shell $(or $(PYTHON),python3) -c 'import difflib, sys; \
  print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))' $(firstword $(UNKNOWN)) $(KNOWN) 2>/dev/null))
$(error $(strip make $(MAKECMDGOALS)) does not take $(firstword $(UNKNOWN))$(if $(NEAREST), (did you mean $(NEAREST)?)), but \
  $(strip $(foreach goal,$(MAKECMDGOALS),$(FOR_$(goal))) PYTHON WORKERS) and the settings of dev.env)
endif
# As they were typed: make itself would take $$1 for a variable of its own.
$(foreach name,$(FOR_run) $(FOR_backfill) $(FOR_triggers) Q TRIPS,$(if $(filter undefined,$(origin $(name))),, \
  $(eval override export $(name) := $$(value $(name)))))
# --name and the value, where the variable is given; the value by the environment, so that no shell reads it.
option = $(if $(value $(1)),--$(2) "$$$(1)")

.DEFAULT:
	@echo "FAILED  make has no $@: make lists what it has" >&2; exit 2

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Runs again only when a lock or what pyproject.toml says of the project changes.
SET_UP = @PYTHON="$(PYTHON)" sh ops/set_up.sh
.venv/.ready: requirements-dev.txt requirements-uv.txt pyproject.toml $(if $(PYTHON),$(patsubst setup,another-python,$(filter setup,$(MAKECMDGOALS))))
	$(SET_UP) .venv .venv-emulators

# `make setup PYTHON=...` looks whether the environments are of that Python.
.PHONY: another-python
another-python:

# The extra `streaming`: a broker and its client, for live_trips, `taxi live` and the tests.
.venv/.streaming: requirements-streaming.txt | .venv/.ready
	$(SET_UP) .venv+streaming

# The emulators of Google Cloud Storage and BigQuery: their packages would not fit mage-ai's pins.
.venv-emulators/.ready: ops/emulators/requirements.txt | .venv/.ready
	$(SET_UP) .venv-emulators

# What checks terraform/: the providers' argument types (read from a wheel), and checkov and pip-audit.
.venv-deploy/.ready: tests/deploy/requirements.txt tests/deploy/provider/requirements.txt | .venv/.ready
	$(SET_UP) .venv-deploy

.venv-scanners/.ready: tests/deploy/scanners.txt | .venv/.ready
	$(SET_UP) .venv-scanners

deploy-tools: $(READY) .venv-deploy/.ready .venv-scanners/.ready

setup: $(READY) ## Make .venv and .venv-emulators and install the locked packages

streaming: $(READY) .venv/.streaming ## Install what the pipeline live_trips and taxi live need
	@echo "taxi live and the pipeline live_trips are ready: docs/streaming.md"

demo: $(READY) ## Fill real tables through real pipelines from synthetic files, and check the numbers
	@$(TAXI) demo

run: $(READY) ## taxi run: make run PIPELINE=api_to_postgres SERVICE=green MONTH=2020-10 ORIGIN=dtc RULES=has_passengers
	@$(TAXI) run $(if $(PIPELINE),"$$PIPELINE") $(call option,SERVICE,service) $(call option,MONTH,month) \
	  $(call option,ORIGIN,origin) $(call option,RULES,rules) $(call option,PREFIX,prefix) \
	  $(call option,EXECUTION_DATE,execution-date)

ui: $(READY) ## Serve Mage's web UI at http://localhost:6789 (Ctrl-C ends it)
	@$(TAXI) ui

backfill: $(READY) ## taxi backfill: make backfill PIPELINE=api_to_postgres SERVICE=green FROM=2020-10 TO=2020-12 PARALLEL=2
	@$(TAXI) backfill $(if $(PIPELINE),"$$PIPELINE") $(call option,SERVICE,service) $(call option,ORIGIN,origin) \
	  $(call option,RULES,rules) $(call option,PREFIX,prefix) $(call option,FROM,from) $(call option,TO,to) \
	  $(call option,PARALLEL,parallel) $(call option,RETRY,retry) $(call option,SHOW,show) \
	  $(if $(FORCE),$(or $(if $(filter true yes 1,$(FORCE)),--force),$(if $(filter false no 0,$(FORCE)),--no-force), \
	  $(error FORCE=$(FORCE) is neither true nor false)))

triggers: $(READY) ## taxi triggers: make triggers [REMOVE=orphans] [NEW_TOKEN=api_to_postgres/webhook]
	@$(TAXI) triggers $(call option,REMOVE,remove) $(call option,NEW_TOKEN,new-token)

sql: $(READY) ## taxi sql: make sql Q="select count(*) from ny_taxi.yellow_cab_data"
	@$(TAXI) sql $(if $(value Q),-- "$$Q")

plan: $(READY) ## taxi plan: make plan Q="select count(*) from yellow_cab_data"
	@$(TAXI) plan $(if $(value Q),-- "$$Q")

doctor: $(READY) ## Check this machine, the settings and the cloud, a line each, with what to do
	@$(TAXI) doctor

up: $(READY) ## Start this machine's Postgres and emulators of Google's services
	@$(TAXI) up $(call option,TRIPS,trips)

down: ## Stop what runs on this machine, a web UI too; the data stay in .local
	@if [ -x $(PY) ]; then $(TAXI) down; fi

status: $(READY) ## Show what runs on this machine
	@$(TAXI) status

lint: $(READY) ## Check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: $(READY) .venv/.streaming ## Run the tests, of style and types too
	$(PY) -m pytest -m "not large and not containers and not chaos and not fuzz and not soak" $(SIDE_BY_SIDE)

test-large: $(READY) ## Run the tests that need 14 M rows or many minutes
	$(PY) -m pytest -m large

test-chaos: $(READY) .venv/.streaming ## Run hundreds of kills, races and lies of the origin, and every order of two runs
	$(PY) -m pytest -m chaos -s

test-soak: $(READY) ## Let a trigger fire every minute, ten times, or SOAK_MINUTES=1440; says memory at start and end
	$(PY) -m pytest -m soak -s

test-fuzz: $(READY) ## Read ten minutes of odd files, and load them into every target
	$(PY) -m pytest -m fuzz

test-deploy: deploy-tools ## Test terraform/ and .github/; make test does it too once this has been run
	$(PY) -m pytest tests/deploy/test_terraform*.py tests/deploy/test_workflows.py tests/deploy/test_audit.py $(SIDE_BY_SIDE)

test-containers: $(READY) ## Build the images and test docker-compose.yml; needs Docker with Compose
	$(PY) -m pytest -m containers

audit: $(READY) .venv-scanners/.ready ## Refuse packages with known faults that can be fixed here
	@$(PY) .github/audit.py

bench: $(READY) ## Measure speed and memory against psql, the usual way, DuckDB and dlt
	$(PY) -m bench

screenshots: $(READY) ## Make the pictures of the docs anew, from synthetic trips
	$(TAXI) screenshots

format: $(READY) ## Format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# UPGRADE= keeps the versions that are there, but for what must change.
UPGRADE ?= --upgrade
COMPILE = $(PY) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras \
  --no-emit-index-url --no-emit-find-links --quiet $(UPGRADE)
lock: $(READY) ## Write every lock anew
	$(COMPILE) pyproject.toml --output-file requirements.txt
	$(COMPILE) pyproject.toml --extra local --extra test --constraint requirements.txt --output-file requirements-dev.txt
	$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["streaming"], sep="\n")' \
	  | $(COMPILE) - --constraint requirements-dev.txt --output-file requirements-streaming.txt
	echo uv | $(COMPILE) - --constraint requirements-dev.txt --output-file requirements-uv.txt
	for name in ops/emulators/requirements tests/deploy/requirements tests/deploy/scanners tests/pipelines/dlt \
	  bench/requirements; do \
	  $(COMPILE) $$name.in --output-file $$name.txt || exit 1; done
