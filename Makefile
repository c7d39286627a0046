# Each target is one plain command on top of a set-up; README gives them for machines without make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MODEL ?=
IMAGES ?=
SUBMISSIONS ?=
# A process for each core, one thread in each unless you say otherwise: files, and so the cells of a notebook, stay
# together and in order, and the notebooks, which take longest, come first.
OMP_NUM_THREADS ?= 1
TEST = OMP_NUM_THREADS=$(OMP_NUM_THREADS) $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder
GRADES ?= build/grades

.PHONY: run run-all test test-all studies lab notebooks bench lint release grade

RUN = $(BIN)/python -m helpers run $(if $(MODEL),--model $(MODEL)) $(if $(IMAGES),--images "$(IMAGES)")

# The assignments and the site, in build/site; run-all executes the evidence pages anew too.
run: $(VENV)/ready
	$(RUN)

run-all: $(VENV)/ready
	$(RUN) --all

test: $(VENV)/ready
	$(TEST) -m "not slow"

test-all: $(VENV)/ready
	$(TEST)

studies: $(VENV)/ready
	$(BIN)/python -m helpers studies

lab: $(VENV)/ready
	$(BIN)/python -m jupyter lab notebooks

notebooks: $(VENV)/ready
	$(BIN)/python -m helpers run --in-place --all

bench: $(VENV)/ready
	$(BIN)/python tests/bench/bench.py

release: $(VENV)/ready
	$(BIN)/python -m helpers release

grade: $(VENV)/ready
	@test -n "$(SUBMISSIONS)" || { echo "say which folder: make grade SUBMISSIONS=folder"; exit 2; }
	$(BIN)/python -m helpers grade "$(SUBMISSIONS)" --out "$(GRADES)"

lint: $(VENV)/ready
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

$(VENV)/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@
