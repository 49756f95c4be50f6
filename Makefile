# Every target does its own set-up in .venv: only Python >= 3.11 and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/stamps
SHARED ?= ../shared
JOBS ?= auto
PYTEST_ARGS ?=

.PHONY: help demo test test-cuda test-gpu sanitize oracle lint typecheck stubs support bench bench-fast bench-cuda conformance dist notebooks scripts warmup clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(STAMP)/demo  ## Train, trace, debug and save a small network on real digits; writes demo.png
	$(PY) -m numtorch.demo

test: $(STAMP)/test  ## All tests that need neither PyTorch nor a GPU
	$(PY) -m pytest -n $(JOBS) --dist worksteal -m "not oracle and not gpu and not cuda_compile" $(PYTEST_ARGS)

test-cuda: $(STAMP)/test $(STAMP)/cuda  ## CUDA kernels compiled for sm_80 and sm_90 (no GPU needed), and run where there is one
	$(PY) -m pytest -n $(JOBS) --dist worksteal -m "cuda_compile or gpu" $(PYTEST_ARGS)

test-gpu: $(STAMP)/test $(STAMP)/cuda $(STAMP)/oracle  ## Every op, layers and optimizers on this machine's NVIDIA GPU
	$(PY) -m pytest -m "gpu" $(PYTEST_ARGS)

sanitize: $(STAMP)/test $(STAMP)/cuda  ## The same under compute-sanitizer's memcheck and racecheck (it comes with the CUDA toolkit)
	for tool in memcheck racecheck; do \
	  NUMTORCH_CUDA_SYNC=1 compute-sanitizer --tool $$tool --error-exitcode 1 $(PY) -m pytest -m "gpu and not oracle" $(PYTEST_ARGS) || exit 1; \
	done

oracle: $(STAMP)/test $(STAMP)/oracle  ## Tests against PyTorch
	$(PY) -m pytest -n $(JOBS) --dist worksteal -m "oracle" $(PYTEST_ARGS)

conformance: $(STAMP)/oracle  ## PyTorch's own test databases; fails if a name in tests/conformance regresses
	$(PY) tests/conformance/check.py --shared $(SHARED)

lint: $(STAMP)/lint  ## Style and likely mistakes (ruff)
	$(BIN)/ruff check .

# The type checker reads a copy in which kernels/ stands where it is imported from.
typecheck: $(STAMP)/lint  ## Types (basedpyright)
	rm -rf build/typecheck && mkdir -p build/typecheck
	cp -R numtorch build/typecheck/ && cp -R kernels build/typecheck/numtorch/kernels
	cp pyproject.toml build/typecheck/
	$(BIN)/basedpyright --project build/typecheck --pythonpath $(PY)

stubs: $(STAMP)/base  ## Rewrite the stub of Tensor's bound methods
	$(PY) tests/stubs/write.py

support: $(STAMP)/base  ## Rewrite numtorch/SUPPORT.md: functions, their dtypes and derivatives; modules
	$(PY) tests/support/write.py

bench: $(STAMP)/bench  ## numtorch against PyTorch, JAX and ONNX Runtime
	$(PY) -m benchmarks

bench-fast: $(STAMP)/bench  ## The same in about two minutes
	$(PY) -m benchmarks --fast

bench-cuda: $(STAMP)/bench $(STAMP)/cuda  ## numtorch against PyTorch on an NVIDIA GPU
	$(PY) -m benchmarks.cuda

notebooks: $(STAMP)/notebooks  ## Run the notebooks from top to bottom and keep their output
	$(PY) notebooks/run.py

scripts: $(STAMP)/notebooks  ## The notebooks as Python scripts, in build/scripts
	$(BIN)/jupyter nbconvert --log-level WARN --to script --output-dir build/scripts notebooks/*.ipynb

warmup: $(STAMP)/base  ## Compile the common kernels ahead
	$(PY) -m numtorch.warmup

dist: $(STAMP)/dist  ## Build sdist and wheel into dist/
	rm -rf dist && $(PY) -m build --outdir dist .

clean:  ## Remove the environment and everything built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis demo.png
	find numtorch kernels tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "numtorch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(STAMP)/base: $(PY) pyproject.toml
	$(PIP) -e .
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/demo $(STAMP)/test $(STAMP)/oracle $(STAMP)/bench $(STAMP)/notebooks $(STAMP)/cuda $(STAMP)/lint: $(STAMP)/%: $(PY) pyproject.toml
	$(PIP) -e ".[$*]"
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/dist: $(PY)
	$(PIP) build
	@mkdir -p $(STAMP) && touch $@
