# make demo    the whole story in a temporary folder
# make test    lint, types, import contract, test suite
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint types layers unit test-real real-table bench probes fuzz clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "driftd needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up .venv with $(PYTHON) (once)"
	@"$(PYTHON)" -m venv "$(VENV)"
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch "$@"

venv: $(STAMP)  ## make .venv and install driftd into it

demo: $(STAMP)  ## run the whole story on an embedded SQLite in a temporary folder
	@"$(BIN)/driftd" demo

test: lint types layers unit  ## lint, types, import contract, test suite

lint: $(STAMP)
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .

types: $(STAMP)
	@"$(BIN)/mypy"

layers: $(STAMP)
	@"$(BIN)/lint-imports"

unit: $(STAMP)
	@"$(BIN)/python" -m pytest -n $(JOBS) -m "not real and not bench" tests

test-real: $(STAMP)  ## against published packages (downloads them once)
	@"$(BIN)/python" -m pytest -m real tests

real-table: $(STAMP)  ## write docs/real-packages.md anew from published packages (half an hour)
	@cd tests && "../$(BIN)/python" -m real.table

bench: $(STAMP)  ## measure, as ratios beside Alembic (downloads packages once)
	@"$(BIN)/python" -m pytest -m bench -s tests/bench

probes: $(STAMP)  ## what is missed and what is made up, beside Alembic (downloads packages once)
	@"$(BIN)/python" -m pytest -m bench -s tests/bench/test_probes.py

fuzz: $(STAMP)  ## random tests with new examples, for DRIFTD_FUZZ_MINUTES (10)
	@JOBS=$(JOBS) "$(BIN)/python" tests/fuzz.py

clean:  ## remove .venv and caches
	rm -rf "$(VENV)" .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
