# Each target needs only Python >= 3.10 and make; .venv is made once, and brought up to date when the dependency files change.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: help train test quick house lint types clean
.DEFAULT_GOAL := help

help:  ## show this list
	@echo "What make does; everything else is a command in tools/, each with --help."
	@[ ! -t 1 ] || { on='\033[1m'; off='\033[0m'; }; awk -F ':.*## ' -v on="$$on" -v off="$$off" \
		'/^[a-z]+:.*## / { printf "  %smake %-6s%s  %s\n", on, $$1, off, $$2 }' $(MAKEFILE_LIST)

train: $(STAMP)  ## train the main job, a linear model on handwritten digits (sets everything up first)
	$(RUN) tools/train_net.py --config-file configs/train_digits_softmax.yml --why "does the baseline learn?"

test: $(STAMP)  ## all tests (sets everything up first)
	$(RUN) -m pytest -n 2

quick: $(STAMP)  ## the tests without the slow ones
	$(RUN) -m pytest -n 2 -m "not slow"

house: $(STAMP)  ## the tests of the rules of the house and of its papers: seconds
	$(RUN) -m pytest tests/test_house_rules.py tests/test_housekeeping.py

lint: $(STAMP)  ## ruff: mistakes and format, as CI does
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP)  ## mypy over the whole code base, as CI does
	$(VENV)/bin/mypy

.PHONY: docs
docs: $(STAMP)  ## the site of the documents, into site/; its generated pages first
	$(RUN) -m docs.make
	$(VENV)/bin/zensical build --strict

clean:  ## remove .venv and caches; runs and data stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

$(STAMP): pyproject.toml constraints.txt
	@test ! -L $(VENV) || { echo "error: $(VENV) is a link; remove it, or call its python directly" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade uv
	$(VENV)/bin/uv pip install --quiet --python $(RUN) --constraints constraints.txt --requirements pyproject.toml --extra test --extra dev --extra docs
	@touch $(STAMP)
