# Everything a contributor does. `make` lists it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# one worker per processor: neighbours share their fixtures, and who has nothing left takes from the others
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv check format test-fast test demo bench lock-dev lock-converter clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

venv: $(VENV)/.ready ## the development environment, from requirements-dev.lock with hashes

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) can't make virtual environments here. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

check: venv ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv ## put formatting and imports right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --select I .

test-fast: venv ## the tests that need neither network nor engine nor patience
	$(PYTEST) -m "not slow and not engine and not apt and not index" $(PYTEST_ARGS)

test: venv ## all tests; what this machine lacks is skipped with a reason
	$(PYTEST) $(PYTEST_ARGS)

demo: venv ## lock, plan, build and run the example project
	PATH="$(abspath $(BIN)):$$PATH" examples/demo

bench: venv ## compare with docker build, side by side
	$(BIN)/python -m bench

# `.` is in it for the extras; the project itself is not pinned. The last two build the editable install.
lock-dev: venv ## renew requirements-dev.lock
	printf '%s\n' '.[conda,dask,data,database,onnx,pip-tools]' hatchling editables | \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --group dev --no-emit-package lockship --custom-compile-command "make lock-dev" \
	  --output-file requirements-dev.lock -

# the packages that models are converted with, and the NumPy that old onnxruntimes need; for every Python
lock-converter: venv ## renew builder/models/*.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --only-binary :all: --generate-hashes \
	  --no-annotate --custom-compile-command "make lock-converter" \
	  --output-file builder/models/converter.lock builder/models/converter.in
	echo 'numpy<2' | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --only-binary :all: \
	  --generate-hashes --no-annotate --custom-compile-command "make lock-converter" \
	  --output-file builder/models/numpy1.lock -

clean: ## remove what make made
	rm -rf $(VENV) .pytest_cache .hypothesis .mypy_cache .ruff_cache dist examples/*/.lockship
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
