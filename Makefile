# Drydock: every task of a developer and of CI, by name. `make` alone lists them.
#
# Works with GNU make 3.81, which macOS ships: no .ONESHELL, no != assignment.

# What may be set, as in: make dev PORT=8010
PYTHON ?= python3
# docker or embedded: make dev takes the first where a Docker Engine answers.
RUNTIME ?=
# Narrows the tests, as in: make test T="tests/test_health.py -k frozen"
T ?=
TAG ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo local)

VENV := .venv/bin
DEV := $(VENV)/python -m dev
PROD := docker compose -f compose.yaml

# Whole suites run in parallel. The quick one must cover the code; the other one goes at running
# services, with faults, hostile input and whatever the OpenAPI document allows.
HARD := $(wildcard tests/faults tests/test_contract.py tests/test_hostile*.py \
	tests/features/*/faults tests/features/*/test_hostile*.py)
WHOLE = -n 4 $(HARD:%=--ignore=%) --cov --cov-report=term:skip-covered

MAKEFLAGS += --no-print-directory
# Some machines set it. Every start would compile every package again: 16 s instead of 6.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

# uv alone decides what stands in a lock file: no configuration of this machine takes part,
# and no address of it gets in.
COMPILE = $(VENV)/uv pip compile --quiet --no-config --python $(VENV)/python \
	--universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	$(LOCK_FLAGS) pyproject.toml

##@ Start here

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo

.PHONY: dev
dev: ## Run everything with reload: make dev [RUNTIME=embedded] [PORT=8000]
	@if [ -n "$(RUNTIME)" ]; then exec $(MAKE) dev-$(RUNTIME); \
	elif docker info >/dev/null 2>&1; then \
		echo 'A Docker Engine answers, so this is the compose stack. Without it: make dev RUNTIME=embedded'; \
		exec $(MAKE) dev-docker; \
	else \
		echo 'No Docker Engine answers, so Postgres and Redis run embedded, under .local/'; \
		exec $(MAKE) dev-embedded; \
	fi

.PHONY: test
test: env ## Run the tests: make test [T="tests/test_x.py -k name"]
	@exec $(VENV)/python -m pytest $(if $(T),$(T),$(WHOLE))

.PHONY: test-faults
test-faults: env ## Go at running services: kill -9, frozen servers, hostile input, 100,000 rows
	@exec $(VENV)/python -m pytest $(if $(T),$(T),-n 4 $(HARD))

.PHONY: test-browser
test-browser: env ## Do what a newcomer does, in Chromium: make test-browser [RUNTIME=docker]
	@$(VENV)/uv pip install --quiet --python $(VENV)/python --require-hashes -r requirements-browser.txt
	@RUNTIME=$(RUNTIME) exec $(VENV)/python -m pytest -p no:xdist --noconftest -p tests.newcomer.fixtures \
		$(if $(T),$(T),tests/newcomer $(wildcard tests/features/*/browser))

##@ Code

.PHONY: lint
lint: env ## Check style, types and the direction of imports
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy
	$(VENV)/lint-imports

.PHONY: format
format: env ## Sort imports and format
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

.PHONY: lock
lock: env ## Lock the dependencies of pyproject.toml: make lock [LOCK_FLAGS=--upgrade]
	$(COMPILE) --output-file requirements.txt
	$(COMPILE) --group dev --constraints requirements.txt --output-file requirements-dev.txt
	$(subst pyproject.toml,,$(COMPILE)) --group pyproject.toml:stack --constraints requirements-dev.txt --output-file requirements-stack.txt
	$(subst pyproject.toml,,$(COMPILE)) --group pyproject.toml:browser --constraints requirements-dev.txt --output-file requirements-browser.txt

.PHONY: bench
bench: env ## Measure the hot path beside a plain route
	@exec $(VENV)/python -m bench

##@ Database

.PHONY: migrate
migrate: env ## Bring the schema up to date
	@exec $(DEV) run -- python -m app migrate

# The message travels in the environment, where no quote or dollar in it can do harm.
.PHONY: migration
migration: env ## Write a migration for what the models changed: make migration m="add a column"
	@test -n "$$m" || { echo 'Say what it does: make migration m="add a column"' >&2; exit 2; }
	@exec $(DEV) run -- python -m alembic revision --autogenerate -m "$$m"

.PHONY: psql
psql: env ## Open psql on the development database
	@exec $(DEV) run -- psql

.PHONY: redis-cli
redis-cli: env ## Open redis-cli on the development Redis
	@command -v redis-cli >/dev/null || { echo 'redis-cli is not installed: apt install redis-tools, or brew install redis' >&2; exit 1; }
	@exec $(DEV) run -- sh -c 'exec redis-cli -h "$$REDIS_HOST" -p "$$REDIS_PORT"'

##@ Containers

.PHONY: image
image: ## Build the production image: make image [TAG=…]
	@TAG=$(TAG) deploy/build

.PHONY: test-stack
test-stack: env ## Run the tests against real containers
	@$(VENV)/uv pip install --quiet --python $(VENV)/python --require-hashes -r requirements-stack.txt
	@PATH="$(CURDIR)/$(VENV):$$PATH" exec $(VENV)/python -m pytest -p no:xdist --confcutdir=tests/stack $(if $(T),$(T),tests/stack)

.PHONY: secrets
secrets: ## Write the secret files that are missing
	@deploy/make-secrets

.PHONY: prod
prod: secrets ## Run the production stack on this host: make prod [DOMAIN=…]
	$(PROD) up --detach --wait --build

.PHONY: down
down: ## Stop the stack; the data stays
	docker compose --profile '*' down --remove-orphans

.PHONY: logs
logs: ## Follow the stack's logs
	docker compose logs --follow --tail 50

.PHONY: shell
shell: ## Open a shell in the app's container
	docker compose exec app sh

##@ Production on one host

.PHONY: deploy
deploy: ## Replace the running version without dropping a request: make deploy TAG=…
	@deploy/release $(TAG)

.PHONY: rollback
rollback: ## Put the version before in the place of the running one
	@test -s .deployed || { echo 'Nothing was deployed here yet: make deploy TAG=…' >&2; exit 1; }
	@deploy/release $$(cut -d ' ' -f 2 .deployed)

.PHONY: backup
backup: ## Write everything that Postgres holds to backups/
	@deploy/backup

.PHONY: restore
restore: ## Put a backup in the place of the data: make restore FILE=backups/…
	@deploy/restore "$(FILE)"

##@ Cleaning

.PHONY: clean
clean: ## Remove caches and .venv; the data stays
	rm -rf .venv .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

.PHONY: clean-data
clean-data: ## Remove databases, token and logs, after asking: make clean-data [YES=1]
	@exec $(PYTHON) -m dev remove-data $(if $(YES),--yes)

# One target for each RUNTIME.

.PHONY: dev-embedded
dev-embedded: env
	@exec $(DEV) up

.PHONY: dev-docker
dev-docker:
	@exec docker compose up --build --remove-orphans

.PHONY: env
env:
	@command -v $(PYTHON) >/dev/null || { echo 'No $(PYTHON) here. Install Python 3.11 or newer, or name one: PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) dev/bootstrap.py
