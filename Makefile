# Everything runs in a virtual environment that the targets make themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The demo takes less than the tests: it is ready sooner.
RUNS := $(VENV)/.runs
READY := $(VENV)/.ready
DEMO_DIR ?= demo

export OMP_NUM_THREADS ?= 2
# modules are compiled once, whatever the environment says: tests start hundreds of processes
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test harden test-openvino test-web coverage check format lint types imports docs package clean

demo: $(RUNS)  ## the whole job on the bundled model; JSON=1 prints one JSON document
	@$(BIN)/hwsearch demo -o $(DEMO_DIR) $(if $(JSON),--json)

# file by file, in the order of tests/conftest.py: xdist's own begins with files of many tests
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(READY)  ## all tests and doctests, file by file on two processes
	@$(PYTEST)

coverage: $(READY)  ## branch coverage of all tests, what the command line starts included; slower than `test`
	@$(PYTEST) --cov --cov-report=term:skip-covered

harden: $(READY)  ## 2,000 changed files or databases to every reader, those that take long included
	@HWSEARCH_MUTATED=2000 $(PYTEST) tests/hardening

test-openvino: $(VENV)-openvino/.ready  ## tests of bundles for OpenVINO, in an environment of their own
	@OMP_NUM_THREADS=1 $(VENV)-openvino/bin/pytest tests/runtime/providers

test-web: $(READY) $(VENV)-node/.ready  ## tests of what runs in Node and browsers; needs Node 20.19 or later
	@HWSEARCH_NODE_MODULES=$(VENV)-node/node_modules OMP_NUM_THREADS=1 $(BIN)/pytest tests/runtime/web tests/latency/kit/test_web.py

check: format lint types imports docs  ## format, lint, types, import direction, and that the site builds

package: $(READY)  ## wheel and sdist, installed and used in clean environments
	@$(BIN)/python release/check_packages.py

format: $(READY)
	@$(BIN)/ruff format --check .

lint: $(READY)
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

docs: $(READY)  ## the site, in build/site; a warning is an error
	@$(BIN)/sphinx-build -q -W --keep-going -c docs . build/site
	@echo "the site is in build/site; its first page is build/site/index.html"

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV)

$(RUNS): pyproject.toml constraints.txt hwsearch/_version.py | $(BIN)/python
	@$(INSTALL) '.[search,report]' >&2
	@touch $(RUNS)

$(READY): pyproject.toml constraints.txt hwsearch/_version.py | $(BIN)/python
	@$(INSTALL) '.[dev]' >&2
	@touch $(READY)

# onnxruntime-openvino takes the place of onnxruntime: both are the same module.
$(VENV)-openvino/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(VENV)-openvino
	@$(subst $(BIN),$(VENV)-openvino/bin,$(INSTALL)) '.[dev]' >&2
	@$(VENV)-openvino/bin/python -m pip uninstall --quiet --yes onnxruntime
	@$(VENV)-openvino/bin/python -m pip install --quiet --no-deps 'onnxruntime-openvino>=1.24.1'
	@$(VENV)-openvino/bin/python -m pip install --quiet openvino
	@touch $@

$(VENV)-node/.ready: hwsearch/runtime/web/package.json
	@mkdir -p $(VENV)-node
	@cp $< $(VENV)-node/package.json
	@npm install --prefix $(VENV)-node --no-audit --no-fund --silent
	@touch $@

clean:
	rm -rf .coverage $(VENV) $(VENV)-openvino $(VENV)-node $(DEMO_DIR) .pytest_cache .mypy_cache .ruff_cache
