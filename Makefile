# Each target needs only Python >= 3.10 and make; .venv is made once, and brought up to date when the dependency files change.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: help train test quick lint types clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/' | expand -t 16

train: $(STAMP)  ## set everything up and run the main job: a linear model on handwritten digits
	$(RUN) tools/train_net.py --config-file configs/train_digits_softmax.yml --why "does the baseline learn?"

test: $(STAMP)  ## set everything up and run all tests
	$(RUN) -m pytest -n 2

quick: $(STAMP)  ## the tests without the slow ones
	$(RUN) -m pytest -n 2 -m "not slow"

lint: $(STAMP)  ## ruff
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP)  ## mypy over the whole code base
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
