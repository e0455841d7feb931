# The commands of the project. Each one does the set-up it needs; `make` alone lists them.
# Works with GNU make 3.81 and later, and in folders whose path holds spaces.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# Another Python: `make setup PYTHON=/path/to/python3.12`. Further arguments: `make ui ARGS="--port 3001"`.
PYTHON ?=
ARGS ?=
BIN := .venv/bin

# How the workers share the modules is in research_assets_tests/conftest.py. One more than two cores, because the tests
# with a browser wait most of the time.
# Where the variable is set, each process of the tests would compile the modules of the project again.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
WORKERS := 3

# No command of the project sends usage statistics.
export DAGSTER_DISABLE_TELEMETRY := 1
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export DO_NOT_TRACK := 1

.PHONY: help setup demo ui test test-unit test-long torture coverage lint typecheck check-studies check docs screenshots \
	bench bench-spark test-spark lint-spark setup-spark wheel clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## Create .venv with the locked dependencies; does nothing if they are installed
	@PYTHON='$(PYTHON)' sh .ci/setup

demo: setup ## Collect a demo study from the simulated API and build its marts; needs no credentials
	@$(BIN)/research-assets demo $(ARGS)

ui: setup ## Open Dagster's UI; uses the simulated API while no credentials are set
	@$(BIN)/research-assets ui $(ARGS)

test: setup ## Run all tests
	@$(PYTEST) -n $(WORKERS) $(ARGS)

test-unit: setup ## Run the tests that need no dbt, no process and no browser (under 90 seconds)
	@$(PYTEST) -n 2 --lane=unit $(ARGS)

test-long: setup ## Run all tests with large property-test profiles and all seeds
	@$(PYTEST) -n $(WORKERS) --long --timeout 14400 $(ARGS)

torture: setup ## Kill, fill, flip and move what a collection depends on; prints its seed. TRIALS=200 SEED=7 ARGS="-k kill"
	@$(PYTEST) -n $(WORKERS) --long --timeout 14400 --trials $(or $(TRIALS),60) $(if $(SEED),--seed $(SEED)) $(ARGS) \
		$(addprefix research_assets_tests/,torture test_flipped_bits.py test_text.py tiktok/test_random_answers.py \
		storage/test_any_answer.py warehouse/test_any_answer_to_marts.py report/test_hostile_report.py \
		browser/test_hostile_pages.py end_to_end/test_planted_credentials.py)

coverage: setup ## Measure which lines the unit tests run
	@$(PYTEST) -n 2 -q --lane=unit --cov --cov-report=term:skip-covered $(ARGS)

lint: setup ## Check style, format and the word list of the texts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python -m research_assets_tests.word_list
	@RESEARCH_WAREHOUSE_BUILD=:memory: RESEARCH_WAREHOUSE_SCRATCH=:memory: \
		$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/models

typecheck: setup ## Check types
	@$(BIN)/mypy

# dg requires that the active environment is named.
check-studies: setup ## Check the study files and load all definitions
	@VIRTUAL_ENV="$$PWD/.venv" $(BIN)/dg check defs --check-yaml

check: lint typecheck check-studies ## Run all checks that run no tests

docs: setup ## Generate docs/marts.md from the descriptions in the dbt project
	@$(BIN)/python -m research_assets_tests.docs.marts_page

screenshots: setup ## Take the screenshots of the documentation; needs chromium and chromium-driver
	@$(BIN)/python -m research_assets_tests.docs.screenshots

bench: setup ## Measure the budgets of the project, each figure with its bound; ARGS names cases
	@$(BIN)/python -m research_assets_tests.benchmarks $(ARGS)

# Spark is large, so it has an environment of its own. It also needs Java 17 or later.
setup-spark: setup
	@uv=.venv-uv/bin/uv; [ -x "$$uv" ] || uv=uv; UV_PROJECT_ENVIRONMENT="$$PWD/.venv-spark" \
		UV_PYTHON="$$PWD/.venv/bin/python" UV_PYTHON_DOWNLOADS=never "$$uv" sync --locked --quiet --extra spark

# Rendering the models starts Spark, which writes its metastore into the current folder.
lint-spark: setup-spark ## Check the style of the SQL that Spark runs; needs Java
	@RESEARCH_WAREHOUSE_BUILD=:memory: RESEARCH_WAREHOUSE_SCRATCH=:memory: SPARK_LOCAL_IP=127.0.0.1 \
		.venv-spark/bin/sqlfluff lint --config .sqlfluff-spark --disable-progress-bar dbt_project/models; \
		status=$$?; rm -rf derby.log metastore_db; exit $$status

test-spark: setup-spark ## Build the marts with Spark and compare them with those of DuckDB, row by row; needs Java
	@.venv-spark/bin/python -m pytest $(ARGS) research_assets_tests/warehouse/test_spark.py

bench-spark: setup-spark ## Measure the marts on a Spark cluster of processes, beside DuckDB; SCALE=10 for ten times the videos
	@.venv-spark/bin/python -m research_assets_tests.benchmarks.spark_bench --scale $(or $(SCALE),1)

wheel: setup ## Build a wheel into dist/ and try it in an empty environment outside the checkout
	@sh .ci/wheel

clean: ## Remove environments, builds and caches; never touches data
	@rm -rf .venv .venv-* dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis dbt_project/target dbt_project/logs
	@find research_assets research_assets_tests -name __pycache__ -type d -prune -exec rm -rf {} +
