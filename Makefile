# One line of help per target: `make`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAKE ?= $(CURDIR)/lake/demo
PORT ?= 8000
ONCE ?=
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready

export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help demo check coverage test lint serve bench docs dist clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'

demo: $(READY) ## run the whole pipeline on a generated market, then serve the page and API on http://127.0.0.1:8000 (ONCE=1: send three queries and end)
	$(BIN)/intarsia demo --lake $(LAKE) --port $(PORT) $(if $(ONCE),--once)

check: lint ## the linters and the fast tests (unit, property, golden), about 3 minutes on two cores
	$(BIN)/python -m pytest --numprocesses 2 -m "not slow" tests/unit tests/property tests/golden

test: $(READY) ## the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder

coverage: $(READY) ## measure and print the line coverage of the fast tests
	$(BIN)/python -m pytest --numprocesses 2 -m "not slow" --cov --cov-report=term:skip-covered tests/unit tests/property tests/golden

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=platform:. $(BIN)/lint-imports

serve: $(READY) ## serve the live release of LAKE on http://127.0.0.1:PORT
	$(BIN)/intarsia serve --lake $(LAKE) --port $(PORT)

bench: $(READY) ## all benchmarks: speed and memory as ratios in one run; HTTP is measured on the live release of LAKE
	$(BIN)/python -m benchmarks --lake $(LAKE)

docs: $(DOCS_READY) ## the manual, as a site in build/docs
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict --site-dir build/docs

dist: $(READY) ## wheel and source distribution in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove the demo's lake, builds and caches; the environment stays
	rm -rf lake build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("intarsia needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev,docs]'
	touch $@
