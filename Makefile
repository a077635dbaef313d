# Set-up, demonstration, tests. `make` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults test-compose lint lock minio clients ray backbone bench-backbone bench-quality bench-speed bench-serving

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

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

test: $(READY) ## run the whole test suite, in two processes: much of it waits
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

ROUNDS := 30

test-faults: $(READY) ## kill parts of the whole stack ROUNDS times (30) at random moments of SEED; for the night
	FAULT_ROUNDS=$(ROUNDS) FAULT_SEED=$(SEED) $(BIN)/python -m pytest tests/faults/test_random_kills.py

test-compose: $(READY) ## build the containers and run them on a Docker engine
	$(BIN)/python -m pytest -m compose tests/compose

# MinIO is published as source only; its Dockerfile names the release.
MINIO := $(shell sed -n 's/^ARG MINIO=//p' deploy/minio/Dockerfile)

minio: $(BIN)/minio ## build MinIO, which `vigil up` then runs (needs Go; some minutes, once)

$(BIN)/minio: $(READY)
	GOBIN=$(abspath $(BIN)) go install $(MINIO)

# Each client has an environment of its own: they need other versions of the same packages.
CLIENTS := tests/conformance/clients

clients: $(patsubst $(CLIENTS)/%.lock,.venv-clients/%/.ready,$(wildcard $(CLIENTS)/*.lock)) ## install AWS's clients that the tests run

.venv-clients/%/.ready: $(CLIENTS)/%.lock | $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip sync --quiet --require-hashes --python $(@D)/bin/python $<
	@touch $@

ray: $(READY) ## install Ray, for units on a cluster
	$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r ray.lock

BACKBONE_FOLDER := backbone-work

backbone: $(READY) ## train our backbones from the teacher's WEIGHTS=folder; MINUTES=n, SEED=n; goes on where it was interrupted
	$(BIN)/python -m gpu.pretraining --folder $(BACKBONE_FOLDER) $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(OPTIONS)

bench-backbone: $(READY) ## measure the backbones on DATA=folder beside ResNet-18 in WEIGHTS=folder
	$(BIN)/python -m tests.benchmarks.backbone --data "$(DATA)" --weights "$(WEIGHTS)" --report docs/backbone.md $(OPTIONS)

# The baseline has an environment of its own, too: about 6 GB with CUDA libraries.
BENCHMARKS := tests/benchmarks

.venv-anomalib/.ready: $(BENCHMARKS)/anomalib.lock | $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip sync --quiet --require-hashes --python $(@D)/bin/python $<
	@touch $@

bench-quality: $(READY) $(if $(BASELINE),.venv-$(BASELINE)/.ready) ## measure decisions on DATA=folder, beside those of BASELINE=anomalib; WEIGHTS=folder has ResNet-18's
	$(BIN)/python -m tests.benchmarks.quality --data "$(DATA)" --report docs/quality.md --pictures quality-mistakes \
		$(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(BASELINE),--anomalib .venv-$(BASELINE)/bin/python) \
		$(foreach count,$(ANOMALIES),--anomalies $(count)) $(OPTIONS)

bench-speed: $(READY) $(if $(BASELINE),.venv-$(BASELINE)/.ready) ## measure time and memory on DATA=folder with ResNet-18 in WEIGHTS=folder, beside BASELINE=anomalib; ONLY=parts
	$(BIN)/python -m tests.benchmarks.speed --data "$(DATA)" --weights "$(WEIGHTS)" --report docs/speed.md \
		$(if $(BASELINE),--anomalib .venv-$(BASELINE)/bin/python) $(if $(ONLY),--only $(ONLY)) $(OPTIONS)

bench-serving: $(READY) $(if $(BASELINE),.venv-$(BASELINE)/.ready) ## measure the service under load, on DATA=folder with ResNet-18 in WEIGHTS=folder, beside BASELINE=anomalib
	$(BIN)/python -m tests.benchmarks.serving --data "$(DATA)" --weights "$(WEIGHTS)" --report docs/serving.md \
		$(if $(BASELINE),--anomalib .venv-$(BASELINE)/bin/python) $(OPTIONS)

lint: $(READY) ## check style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

LOCK := $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11

lock: $(READY) ## resolve the dependencies anew into requirements.lock, and those of clients and baseline into theirs
	$(LOCK) pyproject.toml --group test --group lint -o requirements.lock
	$(LOCK) pyproject.toml --extra ray --group test --group lint --constraint requirements.lock -o ray.lock
	for client in $(basename $(wildcard $(CLIENTS)/*.in $(BENCHMARKS)/*.in)); do $(LOCK) $$client.in -o $$client.lock || exit 1; done
