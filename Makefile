# The commands a newcomer needs. `demo`, `test` and `up` install what is missing first.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export YOLO_ASSETS_HOME ?= $(CURDIR)/var

.PHONY: help install demo test check soak up lint style types fast docs dist clean
help:
	@echo "make install   .venv with everything pinned"
	@echo "make demo      the whole loop on this machine: frames, archive, catalog, training, promotion, hot reload"
	@echo "make test      every test but the long ones"
	@echo "make check     the linters and the fast tests"
	@echo "make soak      random kills, faults, endurance, fuzzers"
	@echo "make up        Dagster UI, daemon and one edge agent with its live page"
	@echo "make lint      ruff and pyright"
	@echo "make docs      the documentation site, into dist/site"
	@echo "make dist      the wheel and a folder of pinned wheels for machines without a network (EXTRAS=\"edge archive\")"

install: $(STAMP)

# uv only for speed and for overrides.txt; versions come from constraints.txt alone. Compiled once here, not again in each
# process: importing torch takes three times as long where no bytecode may be written.
$(STAMP): pyproject.toml constraints.txt overrides.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 with its venv module, or set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --override overrides.txt --editable '.[all,k8s,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/yolo-assets demo

# Without restarts: after a worker that died, xdist 3.8 waits for ever, and does not say in which test it died.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0

# Side by side, each with its output in one piece: what fails does not hide what the others find.
check: $(STAMP)
	@$(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync=target style types fast

# Layers, prose, records, names and formats: no server, no training, no agent. In one process: two would load all
# libraries twice, and pyright has the other processor. They yield to pyright, which takes longer.
fast: $(STAMP)
	nice $(BIN)/python -m pytest -q -m 'not soak and not slow' \
		$(addprefix yolo_assets_tests/,test_imports.py test_prose.py contracts runtime spool tables)

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak

up: $(STAMP)
	$(BIN)/yolo-assets up

lint: style types

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright

docs: $(STAMP)
	$(BIN)/mkdocs build --strict --quiet

EXTRAS ?= base s3 archive edge platform
dist: $(STAMP)
	BIN=$(BIN) bash deploy/wheels.sh dist $(EXTRAS)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
