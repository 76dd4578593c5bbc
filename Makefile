# `make demo` and `make test` need Python 3.11 and a package index, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# Installed before the rest: the version that was tested. Another build: make demo TORCH="..."
TORCH ?= torch==2.13.0
# Processes of the tests.
JOBS ?= 2
OUT ?= outputs/demo

BIN := $(VENV)/bin
# More threads than cores, once per process, would slow the tests down.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint types pytest format clean

help:
	@echo "make demo    synthesise chests, train, evaluate, write $(OUT)/report.html"
	@echo "make test    lint, types and tests"
	@echo "make lint    ruff"
	@echo "make types   mypy"
	@echo "make format  rewrite the sources with ruff"
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

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './outputs/*' -prune -exec rm -rf {} +

# -qq: no chatter about mirrors and wheels, but errors.
$(VENV)/torch.stamp:
	@echo "making $(VENV) and installing $(TORCH); a first time takes minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip "setuptools>=77"
	$(BIN)/python -m pip install -qq $(TORCH)
	@touch $@

# A changed pyproject.toml installs again.
$(VENV)/%.stamp: $(VENV)/torch.stamp pyproject.toml
	$(BIN)/python -m pip install -qq --editable ".[$*]"
	@touch $@
