# `make help` lists the targets. Everything installs into .venv from requirements.lock (versions and hashes).
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2# of the test suite: a process each, with servers of its own and about 2 GB

.DEFAULT_GOAL := help
.PHONY: help setup servers spark demo test test-cluster test-node node node-kubeflow node-katib node-scaling node-gateway node-down control-plane control-plane-down check bench bench-quality bench-cost bench-serving lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 26

setup: .venv/.installed ## Install the locked environment into .venv

.venv/.installed: requirements.lock .ci/installer.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the locked environment into .venv (about 1.5 GB) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/installer.lock
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock .ci/installer.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

servers: ## Redis, PostgreSQL, promtool and Chromium from apt, Kafka from Maven, for the tests that need real ones (they skip where these are missing)
	@.ci/servers

spark: .venv/.spark ## PySpark (450 MB) into .venv, for what is told to run on Spark and its tests; Java 17 has to be there

.venv/.spark: .venv/.installed k8s/images/spark.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r k8s/images/spark.lock
	@touch $@

demo: setup ## Real retail data -> features -> training -> serving -> monitoring -> retraining -> rollouts, with a summary
	@$(BIN)/recsys demo

test: setup ## Lint, types and the whole test suite, two files at a time (WORKERS=4 for more)
	@$(MAKE) --no-print-directory check
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 15

test-cluster: setup ## The manifests, rights and rollouts against the cluster that KUBECONFIG names, in namespaces of their own (k8s/README.md)
	@test -n "$$KUBECONFIG" || { echo "KUBECONFIG names no cluster: KUBECONFIG=FILE make test-cluster, with rights to make namespaces, custom resource definitions and roles." \
	    "A control plane on this machine: make control-plane"; exit 2; }
	@$(BIN)/pytest -m cluster tests/cluster

test-node: setup ## Pods of our own images on a node of this machine, by KServe's controller: the README's way to the first recommendation, a rollout
	@test -n "$$KUBECONFIG" || { echo "KUBECONFIG names no cluster: make node says what to export"; exit 2; }
	@$(BIN)/pytest -m node tests/node

node: setup ## The control plane with a node, KServe and our images, from source (root on Linux; buildah, Go 1.26; half an hour at first)
	@$(BIN)/python -m tests.node.node up
	@$(BIN)/python -m tests.node.kserve
	@$(BIN)/python -m tests.node.images

node-kubeflow: setup ## Kubeflow Pipelines on that node, from source (a quarter of an hour at first)
	@$(BIN)/python -m tests.node.kubeflow

node-katib: setup ## Katib on that node, from source (five minutes at first)
	@$(BIN)/python -m tests.node.katib

node-scaling: setup ## Prometheus, its operator and KEDA on that node, from source, for test-node's autoscaling by requests (half an hour at first)
	@$(BIN)/python -m tests.node.scaling

node-gateway: setup ## Envoy Gateway with its Envoy on that node, from source, for test-node's public gateway (a quarter of an hour at first)
	@$(BIN)/python -m tests.node.gateway

node-down: setup ## Stop them
	@$(BIN)/python -m tests.node.node down

control-plane: setup ## etcd, kube-apiserver and its controllers on loopback, from source (Go 1.26; the first build takes eight minutes of CPU), for test-cluster
	@$(BIN)/python -m tests.cluster.control_plane up

control-plane-down: setup ## Stop them
	@$(BIN)/python -m tests.cluster.control_plane down

check: setup ## Lint, formatting, types, import layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup ## The benchmarks (benchmarks/README.md says what each measures)
	@$(BIN)/python -m benchmarks

bench-quality: .venv/.bench ## Recommendation quality beside other systems; ARGS="--movielens DIR" adds MovieLens
	@$(BIN)/python -m benchmarks.quality $(ARGS)

bench-cost: setup ## Seconds, CPU and memory of each step of training at 0.15, 1.5 and 15 M interactions; ARGS="--sizes N"
	@$(BIN)/python -m benchmarks.cost $(ARGS)

bench-serving: setup ## CPU of a recommendation at 10 k, 100 k and 1 M items, beside KServe's own pair of servers; ARGS="--items N"
	@$(BIN)/python -m benchmarks.serving $(ARGS)

.venv/.bench: .venv/.installed benchmarks/requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r benchmarks/requirements.lock
	@touch $@

EXTRAS = --extra pipeline --extra serving --extra monitoring --extra tracing --extra streaming
# Part of the lock: the same versions, for one purpose.
COMPILE = $(BIN)/uv pip compile --constraint requirements.lock --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-header --no-annotate --quiet

lock: setup ## Resolve pyproject.toml anew into requirements.lock, and the parts of it that images install
	@$(BIN)/uv pip compile pyproject.toml $(EXTRAS) --group dev --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock
	@$(COMPILE) --group bench --output-file benchmarks/requirements.lock
	@$(COMPILE) pyproject.toml --extra serving --extra tracing --extra streaming --output-file k8s/images/serving.lock
	@$(COMPILE) pyproject.toml --extra pipeline --extra monitoring --extra door --output-file k8s/images/pipeline.lock
	@$(COMPILE) --group build --output-file k8s/images/build.lock
	@$(COMPILE) pyproject.toml --extra spark --output-file k8s/images/spark.lock

clean: ## Remove .venv, caches and the local .recsys folder (models, features and reports of this machine)
	rm -rf .venv .recsys .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build
