# Two commands matter: `make demo` and `make test`. Both set everything up first; both may be run again and again.
# The Python of an environment that is there already; another one only where somebody asks for it: `make PYTHON=python3.13 setup`.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo run wheel agent image test test-quick coverage test-gpu test-agent test-agent-image test-podman test-cluster test-future test-pips test-upgrade check format messages bench evaluator-image docs screenshots lock openapi vendor catalogue engines chaos fuzz guards

help: ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## make this machine ready: .venv, Docker Engine, base image
	@$(PYTHON) deploy/setup.py

demo: setup ## run a real challenge, print its leaderboard, serve the portal until Ctrl-C (ARGS=--exit ends there)
	@$(BIN)/python -m containers.examples.demo.run $(ARGS)

run: setup ## serve Assay on this machine: database, broker, portal, workers, one node
	@$(BIN)/assay serve $(ARGS)

wheel: setup ## build dist/assay-….tar.gz, and the wheel from it
	@rm -rf dist && $(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist . && ls -1 dist

agent: setup ## build dist/assay-site-VERSION-pyXY.pyz, the site's program in one file for this Python and machine (ARGS=--image also builds the container assay/site)
	@$(BIN)/python deploy/agent.py $(ARGS)

image: setup ## build assay/server for deploy/compose.yaml (ARGS="--services debian" also builds PostgreSQL, broker and Caddy)
	@$(BIN)/python deploy/image.py $(ARGS)

test: setup ## the whole test suite
	@$(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

test-quick: setup ## the tests for which nothing has to be started: no database, no container, no browser
	@$(BIN)/python -m pytest -n auto --dist loadgroup -m "not (database or docker or browser or slow or gpu)" $(ARGS)

coverage: setup ## the suite with the slowest twenty tests, and how much of each room it runs
	@$(BIN)/python -m pytest -n auto --dist loadgroup --durations=20 --cov --cov-report= $(ARGS)
	@$(BIN)/python tests/coverage_floors.py

test-gpu: setup ## the tests that need a CUDA device
	@$(BIN)/python -m pytest -m gpu $(ARGS)

test-agent: agent ## a hospital joins, releases and survives faults with the one file that `make agent` built
	@ASSAY_TEST_SITE_PROGRAM=$$(ls -t dist/assay-site-*.pyz | head -1) $(BIN)/python -m pytest tests/journeys/test_hospital.py $(ARGS)

test-agent-image: setup ## the same with the container image of the site's program
	@$(BIN)/python deploy/agent.py --image
	@ASSAY_TEST_SITE_IMAGE=assay/site:latest $(BIN)/python -m pytest tests/journeys/test_hospital.py $(ARGS)

test-podman: setup ## the sandbox's tests on Podman (apt-get install podman crun catatonit)
	@$(BIN)/python -m pytest -m docker tests/containers --engine podman $(ARGS)

test-cluster: setup ## Apptainer and a real Slurm, which are installed as root: contract, verdicts, what fails (takes minutes)
	@$(BIN)/python -m pytest --cluster -m cluster tests $(ARGS)

test-future: setup ## the suite in two days, a year and ten years (apt-get install faketime; ARGS="--by +1y tests/workflow")
	@$(BIN)/python tests/future/run.py $(ARGS)

test-upgrade: setup ## upgrade a database of the first version with 10,000 submissions, and restore its backup (ARGS=--write)
	@$(BIN)/python tests/upgrade/run.py --page $(ARGS)

test-pips: setup ## that the lock installs with the pip of each Python from 3.11 to 3.14 (fetches those pips)
	@for pip in 23.2.1 24.0 24.2 24.3.1 25.2 25.3; do $(BIN)/python -m pip download --quiet --no-deps --dest var/pips pip==$$pip; done
	@ASSAY_TEST_PIPS=var/pips $(BIN)/python -m pytest tests/deploy/test_setup.py $(ARGS)

check: setup ## format, lint, types, imports, migrations, deployment settings
	@$(BIN)/ruff format --check --output-format concise .
	@$(BIN)/djangofmt --check platform
	@$(BIN)/clang-format --dry-run -Werror evaluator/kernel/*.[ch]
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy deploy/*.py
	@$(BIN)/lint-imports
	@$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run  # no database need run for this
	@ASSAY_PUBLIC_URL=https://assay.example.org $(BIN)/python manage.py check --deploy --fail-level WARNING

format: setup ## format code, the C kernel and page templates, fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/djangofmt --quiet platform
	@$(BIN)/clang-format -i evaluator/kernel/*.[ch]
	@$(BIN)/ruff check --fix .

messages: setup ## collect the sentences marked for translation, and compile the catalogues (apt-get install gettext)
	@$(BIN)/python manage.py makemessages

bench: setup ## measure speed, memory and latency on this machine (ARGS=--write: keep the tables of the documentation)
	@$(BIN)/python -m evaluator.bench $(ARGS)
	@$(BIN)/python -m evaluator.bench.ranking $(filter --write,$(ARGS))
	@$(BIN)/python -m evaluator.bench.coverage
	@$(BIN)/python -m containers.bench.sandbox
	@$(BIN)/python -m containers.bench.intake
	@$(BIN)/python tests/benchmarks/startup.py
	@$(BIN)/python tests/benchmarks/claims.py
	@$(BIN)/python tests/benchmarks/many_cases.py
	@$(BIN)/python tests/benchmarks/pages.py
	@$(BIN)/python tests/benchmarks/latency.py

evaluator-image: setup ## the evaluator as a container for grand-challenge, CodaBench and MedPerf
	@$(BIN)/python -m evaluator.container.build $$($(BIN)/python -m containers.base.build)

screenshots: setup ## take the pictures of the documentation (after `make demo ARGS=--exit`; needs chromium)
	@$(BIN)/python docs/site/screenshots.py $(ARGS)

docs: setup ## build the documentation into var/docs, offline; the portal serves it at /docs/
	@$(BIN)/python docs/site/build.py $(ARGS)

lock: setup ## make requirements.lock and check that it is complete (ARGS=--upgrade for newer releases, ARGS=--check)
	@$(BIN)/python deploy/lock.py $(ARGS)

openapi: setup ## write the API's description, which a test compares
	@$(BIN)/python -m assay.api.openapi > tests/api/openapi.json

vendor: setup ## fetch the browser libraries again (needs npm; users never do)
	@$(BIN)/python -m assay.pages.vendor.refresh

engines: setup ## look at every guard on Docker, Podman and Apptainer as root, and write the table of docs/reference/engines.md
	@$(BIN)/python -m pytest -q tests/containers/test_engine_table.py --cluster --write-table $(ARGS)

catalogue: setup ## write the table of attacks into containers/CATALOGUE.md from the tests that carry them out
	@$(BIN)/python tests/catalogue.py

chaos: setup ## two hundred submissions while everything is being killed (ARGS="--broker rabbitmq --seed 7")
	@$(BIN)/python tests/chaos/driver.py $(ARGS)

fuzz: setup ## generated requests to every operation as everybody, five minutes each; fetches schemathesis (ARGS="--role site --minutes 1")
	@$(BIN)/python tests/fuzz/run.py $(ARGS)

guards: setup ## show that each attack succeeds once its guard is off
	@$(BIN)/python -m pytest -m docker tests/containers --guards $(ARGS)
