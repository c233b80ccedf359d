# Tallystick: `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash

BIN := .venv/bin
READY := .venv/.ready
TESTS ?= tests

.PHONY: help setup demo test lint types bench requirements clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the pinned packages; costs nothing when it is up to date.

$(READY): requirements/dev.txt pyproject.toml
	@python=$$(requirements/find-python) && \
	  echo "setting up .venv with $$($$python --version)" && $$python -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Start a server, send usage through every way in, show what counted (ONCE=1: then end).
	@$(BIN)/python -m demo

test: lint types ## Lint, types and the whole suite (TESTS=path: only that part of it).
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS)

lint: setup ## Check style and formatting.
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup ## Check types strictly.
	$(BIN)/mypy

bench: setup ## Measure the budgets of the design on this machine; put them into the documents.
	$(BIN)/python -m bench
	$(BIN)/python -m bench.figures

requirements: ## Pin the newest allowed packages in requirements/dev.txt (needs uv).
	uv pip compile pyproject.toml --extra dev --extra bench --universal --python-version 3.11 \
	  --upgrade --generate-hashes --no-emit-index-url --custom-compile-command "make requirements" \
	  --quiet --output-file requirements/dev.txt

clean: ## Remove everything that was made here, .venv and the demo's data included.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-data dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
