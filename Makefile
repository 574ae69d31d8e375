# Everything runs in .venv inside the checkout; each target sets up what it needs, once.
PY := .venv/bin/python
# Tests that run at once: many of them wait for a broker or for processes.
WORKERS ?= 3
.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench soak kafka clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Create .venv and install the pinned dependencies (PYTHON=/path names the Python)
	@PYTHON="$(PYTHON)" ops/setup.sh

demo: setup ## Rate an hour of generated traffic into a ledger and show what everybody owes
	@$(PY) -m ops.cli demo

test: setup ## Run all tests and doctests (WORKERS=8: so many at once)
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: setup ## Check format, lint, types and layering
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo

format: setup ## Format the code and mend what the linter can mend
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: setup ## Measure the core, files and Kafka against bare limits and a peer (ARGS=--quick: some minutes)
	@$(PY) -m ops.bench $(ARGS)

soak: setup ## Run the long form of the fault tests: kills, storms, full disks (ARGS="--seed 7")
	@$(PY) -m pytest -n 0 -v tests/kafka/faults tests/kafka/test_relay.py tests/kafka/test_publish.py --soak $(ARGS)

kafka: setup ## Run a Kafka broker on loopback until Ctrl-C (ARGS="--port 9092 --folder data")
	@$(PY) -m ops.kafka.broker $(ARGS)

clean: ## Remove .venv, caches, the fetched broker and browser and what the demo and benchmark wrote
	rm -rf .venv .kafka .browser .bench demo-ledger .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
