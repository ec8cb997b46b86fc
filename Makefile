# Two commands on a fresh machine with Python 3.11: `make demo` and `make test`. Each creates .venv if it is missing.
VENV ?= .venv
export VENV

.PHONY: help setup demo test lint bench clean

help:
	@echo "make demo    train a tiny model with SFT and DPO and compare the two (no network, no GPU, minutes)"
	@echo "make test    style, types and all tests, on the real engine too"
	@echo "make lint    style and types only"
	@echo "make bench   cost of the command line beside LLaMA-Factory, and speed of importing data (5 GB of temporary files)"
	@echo "make setup   only create $(VENV)"
	@echo "make clean   remove $(VENV) and all caches"

setup:
	@scripts/setup

demo: setup
	@"$(VENV)/bin/rlguide" demo

test:
	@scripts/check

lint:
	@scripts/check lint

bench: setup
	@"$(VENV)/bin/python" scripts/bench_cli.py
	@"$(VENV)/bin/python" scripts/bench_data.py

clean:
	rm -rf "$(VENV)" .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
