# `make help` lists the words. Everything happens in the folder .venv; nothing outside this checkout is touched.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install
JOBS   ?= 2

.PHONY: help setup demo test test-all check golden bench

help:  ## list these words
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-9s %s\n", $$1, $$2}'

setup: $(VENV)/.dev  ## make the environment in .venv, with what developers need

demo: $(VENV)/.core  ## search networks on drawn people, about 5 minutes once the environment is there
	$(BIN)/hrnas search studies/quickstart.yaml

test: $(VENV)/.dev  ## run the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-all: $(VENV)/.dev  ## run every test; those that need pictures read them from HRNAS_DATA
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m ""

check: $(VENV)/.dev  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

golden: $(VENV)/.dev  ## count every published network again: tests/golden/ and docs/faithfulness.md
	$(BIN)/python -m tests.golden

bench: $(VENV)/.core  ## compare search methods on recorded problems (some hours; goes on where it was): docs/search.md
	OMP_NUM_THREADS=1 $(BIN)/hrnas bench --problem all --out benchmarks/results/bench
	OMP_NUM_THREADS=1 $(BIN)/hrnas bench --stopping --out benchmarks/results/bench
	$(BIN)/python benchmarks/search_page.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "hrnas needs Python 3.10 or newer; say which with: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Making the environment in $(VENV): one to a few minutes, about 1.4 GB."
	$(PIP) --quiet -e . -c constraints.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --quiet -e '.[dev,nni]' -c constraints.txt
	@touch $@
