# Every target makes the .venv it needs from pinned requirements; run `make help` for the list.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Outside machines with a local CPU wheel: make test TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
RUN := PYTHONUTF8=1 QT_QPA_PLATFORM=offscreen $(BIN)/python
DATA ?= ../shared/data
ENGINES ?= elastix,greedy,ants:quick
# Processes of the tests; a process needs up to 2 GB of memory.
JOBS ?= 2
OUT ?= bench/results

.PHONY: help demo cohort test test-slow lint bench panel screenshots docs pages cmake clean
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo ## Register the embedded phantom with two classical engines and write reports to demo/
	@$(BIN)/dvcreg phantom --kind head --size 96 --out demo/phantom
	@$(BIN)/dvcreg compare --fixed demo/phantom/fixed.nii.gz --moving demo/phantom/moving.nii.gz \
	  --fixed-seg demo/phantom/fixed_seg.nii.gz --moving-seg demo/phantom/moving_seg.nii.gz \
	  --fixed-points demo/phantom/fixed_points.csv --moving-points demo/phantom/moving_points.csv \
	  --engines elastix,sitk-demons --out demo

cohort: $(VENV)/.cohort ## Register 12 phantoms on 2 workers and write a table and a page to demo/cohort
	@$(BIN)/python Testing/tools/demo_cohort.py demo/phantoms
	@$(BIN)/dvcreg cohort run demo/phantoms/pairs.csv --engines sitk-demons --workers 2 --threads 1 --out demo/cohort

test: $(VENV)/.test system ## Lint, type checks, import rules and all tests but the slow ones
	@$(MAKE) --no-print-directory -j2 lint kernels
	@$(RUN) -m pytest -m "not slow" -n $(JOBS) --dist worksteal

test-slow: $(VENV)/.test system ## The slow tests (user journeys, larger volumes, real data when DATA is there)
	@DVCREG_DATA=$(DATA) $(RUN) -m pytest -m slow

lint: $(VENV)/.test ## ruff, mypy and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=DeepVsClassicReg $(BIN)/lint-imports --no-cache

.PHONY: kernels
kernels: $(VENV)/.test
	@$(BIN)/python Testing/tools/compile_kernels.py

bench: $(VENV)/.test ## Engines side by side on labeled volumes: make bench DATA=folder ENGINES=a,b:preset (resumes)
	@$(BIN)/python Testing/bench/bench.py --data $(DATA) --engines $(ENGINES) --out $(OUT)

panel: $(VENV)/.test system ## Open the Slicer panel in a window without Slicer
	@$(BIN)/python Testing/slicer_standin/show.py

screenshots: $(VENV)/.test system ## Make the panel's pictures in Resources/Screenshots and Docs/pictures
	@$(RUN) Testing/tools/screenshots.py
	@$(RUN) Testing/tools/tutorial.py

docs: $(VENV)/.docs pages ## Build the documentation; open build/docs/Docs/index.html
	@$(RUN) -m sphinx -q -W --keep-going -c Docs . build/docs

pages: $(VENV)/.demo ## Write the facts of engines and methods into the pages of Docs/methods
	@$(RUN) Testing/tools/method_pages.py

cmake: ## Write the module's file lists into DeepVsClassicReg/CMakeLists.txt
	@$(PYTHON) Testing/tools/cmake_lists.py --write

clean: ## Remove everything the targets made
	rm -rf $(VENV) demo bench build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info DeepVsClassicReg/*.egg-info

.PHONY: system
system:
	@$(PYTHON) Testing/tools/system_libraries.py

$(VENV)/bin/python:
	@echo "Making $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: Testing/requirements-demo.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the library and two classical engines into $(VENV) (once, about a minute) ..."
	@$(PIP) -r Testing/requirements-demo.txt
	@$(PIP) -q --no-deps --editable .
	@touch $@

$(VENV)/.cohort: Testing/requirements-cohort.txt $(VENV)/.demo
	@$(PIP) -r Testing/requirements-cohort.txt
	@touch $@

$(VENV)/.docs: Docs/requirements.txt $(VENV)/.test
	@$(PIP) -r Docs/requirements.txt
	@touch $@

$(VENV)/.test: Testing/requirements-test.txt $(VENV)/.demo
	@echo "Installing peers, torch (CPU) and Slicer's MRML into $(VENV) (once, a few minutes) ..."
	@$(PIP) -r Testing/requirements-test.txt
	@touch $@
