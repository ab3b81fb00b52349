# Two commands do all: `make run` and `make test`. Both create .venv when it is not there.
PYTHON ?= $(shell command -v python3.11 || command -v python3.10 || command -v python3.9 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test test-all lint bench reproduce clean

run: $(VENV)/installed
	$(BIN)/python run_recbole_raserec.py --model=RaSeRec --dataset=ml-100k --result_file=result.json

test: $(VENV)/installed lint
	$(BIN)/python -m pytest

test-all: $(VENV)/installed lint
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,browser,search]'
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Seq2Pat mines patterns without ortools, which its requirements name.
bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps seq2pat==2.0.0
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/render.py

reproduce: $(VENV)/installed
	$(BIN)/python benchmarks/reproduce.py --jobs=2
	$(BIN)/python benchmarks/render.py

$(VENV)/installed: setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 9) <= sys.version_info[:2] <= (3, 11) else \
	  "error: Python 3.9 to 3.11 is needed (the ray that RecBole pins has no wheel for others): make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
