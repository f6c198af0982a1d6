# make setup | demo | test | lint | bench
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first Python that the pinned packages are made for; `make setup PYTHON=...` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$p; break; }; done)

.PHONY: setup demo test lint format bench lock
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "microturn needs Python 3.11 to 3.13 (found: $$($(or $(PYTHON),python3) --version 2>&1)); install one, or say make setup PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing into $(VENV) (a few minutes the first time: PyTorch is large)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup
	$(BIN)/microturn demo

# One process per core, up to eight; the tests of a file stay together and share what they made.
test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --durations 30

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/microturn bench session

# PyTorch pins the CUDA packages that it needs itself; without them here, a PyTorch built for the
# CPU alone can be installed from the same lock.
lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra all --universal --python-version 3.11 --quiet \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file $@.tmp
	sed -E '/^(nvidia|cuda)-/d' $@.tmp > requirements.lock && rm $@.tmp
