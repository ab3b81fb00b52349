# Two commands do all: `make run` and `make test`. Both create an environment when it is not there.
# STACK=old is RecBole's own ray with numpy 1, up to Python 3.11; STACK=next is numpy 2, pandas 3 and a current ray.
PYTHON ?= $(shell command -v python3.11 || command -v python3.10 || command -v python3.9 || echo python3)
STACK ?= $(shell $(PYTHON) -c 'import sys; print("old" if sys.version_info < (3, 12) else "next")')
VENV ?= $(if $(filter next,$(STACK)),.venv-next,.venv)
BIN := $(VENV)/bin
LOCK := $(if $(filter next,$(STACK)),constraints-next.txt,constraints.txt)

.PHONY: run test test-next test-all test-docs docs lint bench reproduce clean

run: $(VENV)/installed
	$(BIN)/python run_recbole_raserec.py --model=RaSeRec --dataset=ml-100k --result_file=result.json
	@echo "(recbole-raserec is in $(BIN); examples/recommend.py shows recommendations with reasons)"

# A process for each of two cores; threads of their own would get in each other's way. Files in the order of their names,
# because otherwise those of few tests, which are the longest, come last and one process waits for the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/installed lint
	$(PYTEST)

# What differs between the stacks: RecBole, numpy, pandas and ray; and the main job's figures.
test-next:
	$(MAKE) STACK=next VENV=$(or $(VENV_NEXT),.venv-next) fast-next

.PHONY: fast-next
fast-next: $(VENV)/installed
	$(BIN)/recbole-raserec doctor
	$(BIN)/python -m pytest tests/runtime tests/data tests/tuning tests/recommending tests/retrieval tests/serving \
	  tests/test_model.py tests/test_doctor.py tests/end_to_end/test_golden.py

# The tests of the page need Chromium.
test-all: $(VENV)/installed lint
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) optuna playwright schemathesis \
	  onnx onnxscript onnxruntime
	$(PYTEST) -m "slow or not slow"

# Every command and Python block of README.md and docs/.
test-docs: $(VENV)/installed
	$(BIN)/python -m pytest tests/docs tests/end_to_end/test_examples.py -m "slow or not slow"

# The pages as a site, in build/site. Its packages are not among the tested ones, so it has an environment of its own.
docs: .venv-docs/installed
	.venv-docs/bin/mkdocs build

.venv-docs/installed: setup.py
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet 'mkdocs-material>=9.5,<10'
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Seq2Pat mines patterns without ortools, which its requirements name.
bench: $(VENV)/installed .venv-rectools/installed
	$(BIN)/python -m pip install --quiet --no-deps seq2pat==2.0.0
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/rectools_sasrec.py
	$(BIN)/python benchmarks/several_processes.py
	$(BIN)/python benchmarks/search.py --sizes=131413,1000000
	$(BIN)/python benchmarks/end_to_end.py --sizes=1,10
	$(BIN)/python benchmarks/long_histories.py
	$(BIN)/python benchmarks/long_histories.py --dataset=ml-100k --strides=1,25,auto
	$(BIN)/python benchmarks/render.py

# RecTools' requirements and RecBole's exclude each other.
.venv-rectools/installed: Makefile
	$(PYTHON) -m venv .venv-rectools
	.venv-rectools/bin/python -m pip install --quiet 'rectools[torch]==0.19.0' torch==2.13.0 'numpy<2'
	touch $@

# Only runs whose file is missing are trained; benchmarks/reproduce.py --output=FOLDER trains all again.
reproduce: $(VENV)/installed
	$(BIN)/python benchmarks/reproduce.py --jobs=2
	$(BIN)/python benchmarks/render.py

$(VENV)/installed: setup.py $(LOCK)
	@$(PYTHON) -c 'import sys; old = "$(STACK)" == "old"; low, high = ((3, 9), (3, 11)) if old else ((3, 11), (3, 99)); \
	  sys.exit(None if low <= sys.version_info[:2] <= high else "error: STACK=$(STACK) needs Python " + \
	  ("3.9 to 3.11 (the ray that RecBole pins has no wheel for others): make STACK=next ..." if old else \
	  "3.11 or later (numpy 2.4 and pandas 3): make STACK=old PYTHON=python3.11 ..."))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
ifeq ($(STACK),next)
	$(BIN)/python -m pip install --requirement constraints-next.txt
	$(BIN)/python -m pip install --no-deps recbole==1.2.1 --editable .
else
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test]'
endif
	touch $@

clean:
	rm -rf $(VENV) .venv-next .venv-docs .venv-rectools .ci-venv .ci-venv-next build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
