# `make demo` and `make test` need Python 3.11 and a package index, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# Installed before the rest: the version that was tested. Another build: make demo TORCH="..."
TORCH ?= torch==2.13.0
# Processes of the tests.
JOBS ?= 2
OUT ?= outputs/demo
# Environment of `make oldest`, and what it runs.
OLDEST ?= .venv-oldest
OLDEST_TESTS ?= tests

BIN := $(VENV)/bin
# More threads than cores, once per process, would slow the tests down.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint types pytest format docs oldest audit clean

help:
	@echo "make demo    synthesise chests, train, evaluate, write $(OUT)/report.html"
	@echo "make test    lint, types and tests"
	@echo "make lint    ruff"
	@echo "make types   mypy"
	@echo "make format  rewrite the sources with ruff"
	@echo "make docs    build the documentation site into outputs/site, strictly"
	@echo "make oldest  tests with the oldest versions that pyproject.toml allows (downloads several GB)"
	@echo "make audit   licences of what is installed, and known advisories about it (needs a network)"
	@echo "make clean   remove environment, builds and caches; outputs stay"

demo: $(VENV)/demo.stamp
	$(BIN)/anatomy-vlm demo --out $(OUT)

test: lint types pytest

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/dev.stamp
	$(BIN)/mypy

# After the quick checks also under `make -j`, so that the summary of the tests is the last line.
pytest: $(VENV)/dev.stamp | lint types
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -q -n $(JOBS)

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "outputs/site/index.html"

# Not a part of `make test`: another environment, with a PyTorch of its own.
oldest: $(OLDEST)/oldest.stamp
	$(TEST_ENVIRONMENT) $(OLDEST)/bin/python -m pytest -q -n $(JOBS) $(OLDEST_TESTS)

audit: $(VENV)/audit.stamp
	$(BIN)/python -m anatomy_vlm.licences
	@# Builds such as 2.13.0+cpu are known to nobody by that name. --strict: what was not looked up is no good news.
	$(BIN)/python -m pip list --format=freeze --exclude-editable | sed 's/+.*//' > $(VENV)/installed.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement $(VENV)/installed.txt

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './outputs/*' -prune -exec rm -rf {} +

# -qq: no chatter about mirrors and wheels, but errors.
$(VENV)/torch.stamp:
	@echo "making $(VENV) and installing $(TORCH); a first time takes minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip "setuptools>=77"
	$(BIN)/python -m pip install -qq $(TORCH)
	@touch $@

# Of direct dependencies the oldest that their bounds allow, of others the newest; pip cannot, uv can.
$(OLDEST)/oldest.stamp: pyproject.toml
	@echo "making $(OLDEST) with the oldest supported versions; takes a while"
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -qq --upgrade pip uv
	$(OLDEST)/bin/uv pip install -q --python $(OLDEST)/bin/python --resolution lowest-direct --editable ".[test]"
	@touch $@

# A changed pyproject.toml installs again.
$(VENV)/%.stamp: $(VENV)/torch.stamp pyproject.toml
	$(BIN)/python -m pip install -qq --editable ".[$*]"
	@touch $@
