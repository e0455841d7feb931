# The project's verbs. Each one does the set-up it needs; `make` alone lists them.
# Works with GNU make 3.81 and later, and in folders whose path holds spaces.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# Another Python: `make setup PYTHON=/path/to/python3.12`. Further arguments: `make ui ARGS="--port 3001"`.
PYTHON ?=
ARGS ?=
BIN := .venv/bin

.PHONY: help setup demo ui test lint typecheck check-studies check docs screenshots bench clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv with the locked dependencies; does nothing when they are there
	@PYTHON='$(PYTHON)' sh .ci/setup

demo: setup ## A first run on the simulated API: collects, builds, shows; no credentials needed
	@$(BIN)/research-assets demo $(ARGS)

ui: setup ## Open Dagster's UI; on the simulated API as long as no credentials are set
	@$(BIN)/research-assets ui $(ARGS)

# A module's fixtures (servers, a built warehouse) cost more than its tests: loadscope keeps a module on one worker.
test: setup ## Run all tests
	@$(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

lint: setup ## Check style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python -m research_assets_tests.word_list

typecheck: setup ## Check types
	@$(BIN)/mypy

# dg asks to be told that this environment is the active one.
check-studies: setup ## Check the study files and load all definitions
	@VIRTUAL_ENV="$$PWD/.venv" $(BIN)/dg check defs --check-yaml

check: lint typecheck check-studies ## Everything that can be checked without running the tests

docs: setup ## Write the page of the marts anew from dbt's descriptions
	@$(BIN)/python -m research_assets_tests.docs.marts_page

screenshots: setup ## Take the pictures of the documentation anew; needs chromium and chromium-driver
	@$(BIN)/python -m research_assets_tests.docs.screenshots

bench: setup ## Measure what the project promises, each figure with its bound; ARGS names cases
	@$(BIN)/python -m research_assets_tests.benchmarks $(ARGS)

clean: ## Remove the environment and all caches; data is never touched
	@rm -rf .venv .venv-uv .mypy_cache .ruff_cache .pytest_cache .hypothesis dbt_project/target dbt_project/logs
	@find research_assets research_assets_tests -name __pycache__ -type d -prune -exec rm -rf {} +
