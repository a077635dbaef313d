# Set-up, demonstration, tests. `make` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint lock minio

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(READY) ## create the environment in .venv, or bring it up to date

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is not one; try: make setup PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "$(PYTHON) cannot make an environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(READY) ## show the service at work; DATA=folder takes your own images
	$(BIN)/vigil demo $(if $(DATA),--data "$(DATA)")

test: $(READY) ## run the whole test suite
	$(BIN)/python -m pytest

# MinIO is published as source only. Of its releases the module proxy serves this one, the last of the repository.
MINIO := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

minio: $(BIN)/minio ## build the MinIO that the tests run (needs Go; some minutes, once)

$(BIN)/minio: $(READY)
	GOBIN=$(abspath $(BIN)) go install $(MINIO)

lint: $(READY) ## check style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(READY) ## resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml \
		--group test --group lint --python-version 3.11 -o requirements.lock
