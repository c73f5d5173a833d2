# make demo    the whole story in a temporary folder
# make test    lint, types, import contract, test suite
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= auto
# Where Python may keep no bytecode, each of some thousand processes compiles driftd anew, and every figure is one of that.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint types layers unit test-real real-table bench bench-part bench-quick probes faults soak fuzz clean

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

bench: $(STAMP)  ## measure everything beside Alembic and others, write docs/benchmarks.md (half an hour; downloads once)
	@cd tests && "../$(BIN)/python" -m bench

bench-part: $(STAMP)  ## measure what has K in a test's name; the other rows of the page stay
	@test -n "$(K)" || { echo "say which: make bench-part K=exec" >&2; exit 2; }
	@cd tests && "../$(BIN)/python" -m bench -k "$(K)"

bench-quick: $(STAMP)  ## the same on small sizes, as a trial: no page
	@cd tests && "../$(BIN)/python" -m bench --quick

probes: $(STAMP)  ## what is missed and what is made up, beside Alembic (downloads packages once)
	@"$(BIN)/python" -m pytest -m bench -s tests/bench/test_probes.py

faults: $(STAMP)  ## every crash point and every disk fault, not a choice of them
	@DRIFTD_FAULTS=all "$(BIN)/python" -m pytest -n $(JOBS) tests/faults

soak: $(STAMP)  ## a storm around a running daemon for DRIFTD_SOAK_MINUTES (60): nothing grows, all is right behind it
	@DRIFTD_SOAK_MINUTES="$${DRIFTD_SOAK_MINUTES:-60}" "$(BIN)/python" -m pytest -s tests/faults/test_soak.py

fuzz: $(STAMP)  ## random tests with new examples, for DRIFTD_FUZZ_MINUTES (10)
	@JOBS=$(JOBS) "$(BIN)/python" tests/fuzz.py

clean:  ## remove .venv and caches
	rm -rf "$(VENV)" .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
