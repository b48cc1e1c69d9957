# Everything a person does with Perennial, one line each: make help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODEL ?= test_failure_predictor
# In an environment of its own: it must not be in the list that it writes.
CYCLONEDX := cyclonedx-bom==7.5.0
BASE ?= main
comma := ,
# uv does not read pip's variables: hand on the wheel folders that pip is told of. Without such a folder
# the CPU build of torch is asked for, since the default one brings gigabytes of CUDA.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
TORCH := $(if $(strip $(UV_FIND_LINKS)),,--torch-backend=cpu)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# The demo lives in a state folder of its own, with hours shortened to seconds. Its few cycles never tell drift from
# chance as surely as a budget of months asks, so there each proven one warns.
WARNS := PERENNIAL_FALSE_DRIFT_WARNINGS_PER_MONTH=1e6
DEMO := PERENNIAL_HOME=.perennial/demo PERENNIAL_SPEC_OVERLAY=configs/demo $(WARNS)
# That over a table has a project folder of its own, with the state in it. A relative overlay would lie in the project.
DEMO_TABLE := PERENNIAL_PROJECT=$(CURDIR)/.perennial/demo-table PERENNIAL_HOME=.perennial \
	PERENNIAL_SPEC_OVERLAY=$(CURDIR)/configs/demo-table $(WARNS)

.DEFAULT_GOAL := help
.PHONY: docker-build docker-up docker-down deploy-local deploy-staging deploy-production promote logs backup restore \
	clean-deployments help setup data-check thresholds report dev-certificates demo demo-table up down status rollback clean licences sbom test test-fast test-deep test-production test-gpu lint hooks bench repro

help: ## list the targets
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' Makefile

##@ Try it

setup: $(READY) ## make .venv with the tested versions (uv inside, CPU torch), and accounts
	@# Also where the environment forbids writing it: an emergency rollback must not wait for a compiler.
	@python -m compileall -q src
	@perennial local setup

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: install Python 3.11, or say make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV): some 300 packages, a few minutes the first time"
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	@# Compiled here once, not by a dozen processes at their first start; the list of packages is cut.
	@set -o pipefail; VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install $(TORCH) --compile-bytecode \
		--constraint constraints.txt --editable '.[test]' 2>&1 | grep -v '^ [-+] '
	@touch $@

demo: setup ## the closed loop, end to end, in about 10 minutes
	@$(DEMO) perennial demo run

demo-table: setup ## from a CSV file to a champion, drift and a second champion, in about 5 minutes
	@$(DEMO_TABLE) perennial demo table

clean: down ## remove the state of the demos
	@rm -rf .perennial/demo .perennial/demo-table

##@ Run it

up: setup ## start all processes and wait until each is ready
	@perennial local up

down: setup ## stop all processes, those of the demos too
	@$(DEMO) perennial local down
	@$(DEMO_TABLE) perennial local down
	@perennial local down

##@ Run it in containers (docs/guide/deploy.md)

PROFILES ?= core
COMPOSE := COMPOSE_PROFILES=$(PROFILES) $(if $(findstring scale,$(PROFILES)),PERENNIAL_PORTS_STABLE=3101$(comma)3102$(comma)3103$(comma)3104 PERENNIAL_AIRFLOW_EXECUTOR=CeleryExecutor) \
	docker compose --file docker/compose.yaml
ENGINE := docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1 || { \
	echo "no Docker engine with its compose plugin answers; make up runs everything without containers"; exit 1; }

docker-build: ## the image of each role; needs a Docker engine
	@$(ENGINE)
	@$(COMPOSE) --profile tools build

docker-up: ## containers of PROFILES=core,monitoring,scale; the first time with secrets and a client's key
	@$(ENGINE)
	@docker/make-secrets.sh
	@$(COMPOSE) run --rm setup
	@$(COMPOSE) run --rm -T tools key list --json | grep -q '"client"' || $(COMPOSE) run --rm -T tools key add first
	@$(COMPOSE) up --detach
	@$(COMPOSE) ps

docker-down: ## stop the containers; their volumes stay
	@$(ENGINE)
	@$(COMPOSE) down

##@ Deploy (docs/guide/deploy.md). DRY_RUN=1 prints the commands and runs nothing. ON=local (default), staging, production

ON ?= local
DEPLOY := deploy-local deploy-staging deploy-production promote rollback status logs backup restore clean-deployments
# What these targets are given goes into commands: values with anything else than these characters are refused before
# make expands them or a shell reads them.
PLAIN := a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N O P Q R S T U V W X Y Z \
	0 1 2 3 4 5 6 7 8 9 . _ - + / ~ ^ = @ :
without = $(if $(2),$(call without,$(subst $(firstword $(2)),,$(1)),$(wordlist 2,99,$(2))),$(1))
plain = $(if $(call without,$(value $(1)),$(PLAIN))$(filter -%,$(value $(1))),$(error \
	$(1)= begins with - or has a character that is none of letters, digits and ._-+/~^=@:))
$(if $(filter $(DEPLOY) thresholds report,$(MAKECMDGOALS)),$(foreach name,MODEL VERSION TARGET SOURCE KEYS PROCESS LINES ON BASE,$(call plain,$(name))))
$(if $(filter local staging production,$(ON)),,$(error ON=$(ON) is none of local, staging, production))
NAMESPACE_staging := perennial-staging
NAMESPACE_production := perennial
$(if $(filter deploy-local backup restore,$(MAKECMDGOALS)),$(if $(filter-out local,$(ON)),$(error \
	ON=$(ON): this target is about this machine only)))
KUBECTL = kubectl --namespace $(NAMESPACE_$(ON))
# Where commands about the plant run: here, or in the container of its pod that has the addresses of the databases.
PLANT = $(if $(NAMESPACE_$(ON)),$(KUBECTL) exec plant-0 --container guard -- )perennial
# Commands of a person there get the token by their standard input: it is on no command line.
AS_PERSON = $(if $(NAMESPACE_$(ON)),printf %s "$$PERENNIAL_TOKEN" | $(KUBECTL) exec --stdin plant-0 --container guard -- \
	sh -c 'PERENNIAL_TOKEN=$$(cat) exec "$$@"' - )perennial
SET_UP := $(if $(DRY_RUN),,setup)
SET_UP_HERE = $(if $(NAMESPACE_$(ON)),,$(SET_UP))
# The packages without the state folder, which must be empty for `restore`.
PACKAGES := $(if $(DRY_RUN),,$(READY))
ifneq ($(origin LINES),command line)  # a terminal tells its height by this name
LINES = 100
endif
TAIL = tail --lines $(LINES) "$${PERENNIAL_HOME:-.perennial}"/logs/$(or $(PROCESS),*).log
# $(call run,COMMAND) runs a command, or prints it.
run = $(if $(DRY_RUN),@printf '%s\n' '$(subst ','\'',$(1))',@$(1))
# $(call needs,TARGET,NAME,EXAMPLE) ends before anything runs, where a variable of that target was not given.
given = $(filter command environment,$(firstword $(origin $(1))))
needs = $(if $(filter $(1),$(MAKECMDGOALS)),$(if $(call given,$(2)),,$(error $(2)= is missing: make $(1) $(3))))
$(call needs,deploy-production,MODEL,MODEL=test_failure_predictor VERSION=1.0.0)
$(call needs,deploy-production,VERSION,MODEL=$(MODEL) VERSION=1.0.0)
$(call needs,backup,TARGET,TARGET=/mnt/backup/2026-03-01)
$(call needs,restore,SOURCE,SOURCE=/mnt/backup/2026-03-01)
APPLY = $(KUBECTL) apply --kustomize deploy/kustomize/overlays/$(ON)
READY_PODS = $(KUBECTL) rollout status $(1) --timeout=15m

deploy-local: $(SET_UP) ## start every process of this machine, and look for what is wrong
	$(call run,perennial local up)
	$(call run,perennial doctor)

deploy-staging: override ON := staging
deploy-staging: ## the overlay staging; with VERSION= a release of that version of MODEL there, up to its approval
	$(call run,$(APPLY))
	$(call run,$(call READY_PODS,statefulset/plant))
	$(call run,$(call READY_PODS,deployment/serving))
	$(if $(VERSION),$(call run,$(AS_PERSON) release start $(MODEL) --version $(VERSION)))

deploy-production: override ON := production
deploy-production: ## the overlay production and all traffic for MODEL= VERSION=, which people have approved there
	$(call run,$(PLANT) release deploy $(MODEL) --version $(VERSION) --check)
	$(call run,$(APPLY))
	$(call run,$(call READY_PODS,statefulset/plant))
	$(call run,$(call READY_PODS,deployment/serving))
	$(call run,$(PLANT) release deploy $(MODEL) --version $(VERSION))

promote: $(SET_UP_HERE) ## skip the remaining steps of the running release of MODEL, with a token in PERENNIAL_TOKEN
	$(call run,$(AS_PERSON) release promote $(MODEL))

rollback: $(SET_UP_HERE) ## put the previous champion of MODEL back; needs only Envoy
	$(call run,$(AS_PERSON) release rollback $(MODEL))

status: $(SET_UP_HERE) ## list the processes, or the objects in the namespace of ON=
	$(call run,$(if $(NAMESPACE_$(ON)),$(KUBECTL) get pods$(comma)horizontalpodautoscalers$(comma)poddisruptionbudgets,perennial local status))

logs: ## the last LINES=100 of the log of PROCESS=guard, or of all processes
	$(call run,$(if $(NAMESPACE_$(ON)),$(KUBECTL) logs plant-0 $(if $(PROCESS),--container $(PROCESS),--all-containers --prefix) --tail $(LINES),$(TAIL)))

backup: $(PACKAGES) ## all state into the new folder TARGET=; KEYS= names the file of a passphrase for private keys
	$(call run,perennial backup $(TARGET)$(if $(KEYS), --keys $(KEYS)))

restore: $(PACKAGES) ## the backup in the folder SOURCE= into an empty place
	$(call run,perennial restore $(SOURCE)$(if $(KEYS), --keys $(KEYS)))

clean-deployments: $(SET_UP_HERE) ## delete files of ended releases, old logs, work folders and reports (perennial prune --dry-run)
	$(call run,$(PLANT) prune)

##@ Experiment

repro: setup ## train locally: prepare, validate, train, evaluate through DVC
	@dvc repro

data-check: setup ## what dvc pull has of the experiment, and the checks of its data
	@# Without a remote yet there is nothing to pull, and the data is made anew.
	@dvc pull --run-cache --allow-missing || echo "dvc pull brought nothing: the data is made here"
	@dvc repro --pull validate

thresholds: setup ## the last experiment of MODEL beside the bounds of the gate; an error where one is missed
	@perennial evaluate $(MODEL) --bounds

report: setup ## the last experiment beside the metrics of BASE=main, in data/report.md
	@{ echo "## Experiment beside $(BASE)"; echo; dvc metrics diff --md $(BASE); } >data/report.md
	@cat data/report.md

dev-certificates: ## a self-signed certificate for localhost in .perennial/tls, for PERENNIAL_TLS_CERT, _KEY and _CA
	@mkdir -p .perennial/tls && chmod 700 .perennial/tls
	@umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
		-subj /CN=localhost -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
		-keyout .perennial/tls/key.pem -out .perennial/tls/cert.pem 2>/dev/null
	@echo "export PERENNIAL_TLS_CERT=.perennial/tls/cert.pem PERENNIAL_TLS_KEY=.perennial/tls/key.pem PERENNIAL_TLS_CA=.perennial/tls/cert.pem"

bench: setup ## measure ratios side by side; takes minutes
	@for file in benchmarks/*.py; do echo "== $$file"; python $$file || exit 1; done

##@ Change it (docs/guide/develop.md, tests/README.md)

test-fast: setup ## the tests that start no server, in about a minute
	@python tests/run.py --fast

test: setup ## every test; real servers start and stop themselves; ALSO=production: with those of test-production
	@python tests/run.py $(if $(ALSO),--also $(ALSO))

test-deep: setup ## every test, property tests with all their examples
	@python tests/run.py --deep

test-production: setup ## the tests on PostgreSQL, Redis, S3 and Celery, which they start
	@python tests/run.py --lane production

test-gpu: setup ## the tests that need an NVIDIA GPU; without one they are skipped, and say so
	@python tests/run.py --lane gpu

lint: setup ## ruff, formatting, types, import contracts, spelling
	@# The types take as long as all others together: beside them.
	@mypy & types=$$!; ruff check . && ruff format --check . && lint-imports && codespell; \
		code=$$?; wait $$types && exit $$code

licences: setup ## judge the licence of every installed package by deploy/licences.yaml
	@python tests/support/containers/licences.py

sbom: setup ## what is installed, with versions and licences, as CycloneDX in dist/perennial.cdx.json
	@mkdir -p dist
	@uv tool run --from $(CYCLONEDX) cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-file dist/perennial.cdx.json
	@echo "dist/perennial.cdx.json"

hooks: setup ## run the same checks before each commit
	@command -v pre-commit >/dev/null || VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet pre-commit
	@pre-commit install
