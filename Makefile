# Two commands on a fresh machine with Python 3.11, git and make:
#   make study   sets up and runs the main job: a front of models and its baseline, printed and reported
#   make test    sets up and passes lint, types and tests
# and one that takes hours, goes on where it stopped, and writes docs/results.md:
#   make results (make results-smoke: every arm of it in minutes, to see that it runs)

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
# settings of the study, e.g. make study SET="--set recipe.steps=10"
SET    ?=
OUT    ?= runs
BASE   ?= models/arithmetic
BASE_STEPS ?= 600
# further options of the comparison, e.g. make results RESULTS="--minutes 60"
RESULTS ?=
SMOKE  ?= runs/smoke
# further options of pytest, e.g. make test PYTEST="-m 'not slow'"
PYTEST ?=
# tests run in parallel processes, so each has one thread
export OMP_NUM_THREADS ?= 1

.PHONY: study test lint types results results-smoke clean

study: $(VENV)/.run
	OMP_NUM_THREADS=2 $(BIN)/python -m moalign.tasks.arithmetic $(BASE) --steps $(BASE_STEPS)
	$(BIN)/moalign run studies/arithmetic.py --out $(OUT) $(SET)

# from a folder that holds packages called optimizers, rewards and tasks, as a user's own may
test: $(VENV)/.dev lint types
	cd tests/decoys && $(abspath $(BIN))/python -m pytest -c ../../pyproject.toml --rootdir ../.. \
		-n 2 --dist worksteal $(PYTEST) ../../tests ../../moalign

results: $(VENV)/.run
	$(BIN)/python -m benchmarks.results $(RESULTS)

results-smoke: $(VENV)/.run
	$(BIN)/python -m benchmarks.results --smoke --out $(SMOKE)/results $(RESULTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/pyright

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs models
