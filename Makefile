# Drydock: every task of a developer and of CI, by name. `make` alone lists them.
#
# Works with GNU make 3.81, which macOS ships: no .ONESHELL, no != assignment.

# What may be set, as in: make dev PORT=8010
PYTHON ?= python3
# docker or embedded: make dev takes the first where a Docker Engine answers.
RUNTIME ?=
# Narrows the tests, as in: make test T="tests/test_health.py -k frozen"
T ?=
# The commit, with -dirty behind it if anything differs from it.
TAG ?= $(shell deploy/pipeline/revision 2>/dev/null || echo local)
# Where `make push` copies to, as in: make push REGISTRY=ghcr.io REPOSITORY=owner/name
REGISTRY ?=
# REPOSITORY is the name there; what GitHub calls it will do.
REPOSITORY ?= drydock
# What scan and sbom look at, and what promote gives its tags.
BUILT = $(or $(APP_IMAGE),drydock):$(TAG)
IMAGE ?= $(BUILT)
FROM ?= $(TAG)

# The runtime that runs already. Asked only where a target uses it.
WHERE = $(or $(RUNTIME),$(if $(shell docker compose ps --quiet --status running db 2>/dev/null),docker,embedded))

VENV := .venv/bin
DEV := $(VENV)/python -m dev
PROD := docker compose -f compose.yaml

# Whole suites run in parallel. The quick one must cover the code; the other one goes at running
# services, with faults, hostile input and whatever the OpenAPI document allows. Three processes on
# two cores: each has servers to start, and waits for them. Loading schemathesis takes each a second.
HARD := $(wildcard tests/faults tests/test_contract.py tests/test_hostile*.py \
	tests/features/*/faults tests/features/*/test_hostile*.py)
TOOLS := tests/dev tests/pipeline
WHOLE = -n 3 -p no:schemathesis $(HARD:%=--ignore=%) $(TOOLS:%=--ignore=%) --cov --cov-report=term:skip-covered

MAKEFLAGS += --no-print-directory
# A variable as it was typed after make, and as nothing else: WSL, for one, sets NAME for everybody.
typed = $(if $(filter command,$(firstword $(origin $(1)))),"$$$(1)","")
# Some machines set it. Every start would compile every package again: 16 s instead of 6.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

# uv alone decides what stands in a lock file: no configuration of this machine takes part,
# and no address of it gets in.
# The command that a file names is the one that Renovate runs to update it: only options that it
# knows, and pyproject.toml by name (renovate.json).
LOCKED = --universal --python-version=3.11 --generate-hashes
define compile
$(VENV)/uv pip compile --quiet --no-config --python $(VENV)/python --no-emit-index-url \
	--no-emit-find-links $(LOCK_FLAGS) --custom-compile-command "uv pip compile $(1)" $(1)
endef

##@ Start here

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
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

.PHONY: init
init: ## Make it yours: make init NAME=orders [SAMPLE=no]
	@exec $(PYTHON) dev/bootstrap.py init $(call typed,NAME) $(call typed,SAMPLE)

.PHONY: doctor
doctor: ## Say what is wrong with this machine, and the remedy
	@exec $(PYTHON) dev/bootstrap.py doctor $(RUNTIME:%=--runtime=%)

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

.PHONY: test-tools
test-tools: env ## Test what stands around the app: init, doctor, the pipeline's scripts
	@exec $(VENV)/python -m pytest $(if $(T),$(T),-n 2 -p no:schemathesis $(TOOLS))

.PHONY: test-copies
test-copies: env ## Do in copies what the pages say: another name, no sample, a hook, a first feature
	@.ci/check-init
	@.ci/check-hooks
	@.ci/check-first-feature

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

.PHONY: hooks
hooks: env ## Have git run make lint before each commit
	@$(VENV)/prek install --quiet
	@echo 'git commit now runs make lint first; git commit --no-verify goes around it.'

.PHONY: lock
lock: env ## Lock the dependencies of pyproject.toml: make lock [LOCK_FLAGS=--upgrade]
	@$(call compile,$(LOCKED) --output-file=requirements.txt pyproject.toml)
	@$(call compile,$(LOCKED) --group=dev --constraints=requirements.txt --output-file=requirements-dev.txt pyproject.toml)
	@$(call compile,$(LOCKED) --group=stack --constraints=requirements-dev.txt --output-file=requirements-stack.txt pyproject.toml)
	@$(call compile,$(LOCKED) --group=browser --constraints=requirements-dev.txt --output-file=requirements-browser.txt pyproject.toml)

# begin sample
.PHONY: bench
bench: env ## Measure the hot path beside a plain route
	@exec $(VENV)/python -m bench
# end sample

##@ Database

# Of the compose stack where that runs, else embedded. RUNTIME=docker or RUNTIME=embedded forces one.

.PHONY: migrate
migrate: ## Bring the schema up to date
	@exec $(MAKE) migrate-$(WHERE)

# The message travels in the environment, where no quote or dollar in it can do harm.
.PHONY: migration
migration: ## Write a migration for what the models changed: make migration m="add a column"
	@test -n "$$m" || { echo 'Say what it does: make migration m="add a column"' >&2; exit 2; }
	@exec $(MAKE) migration-$(WHERE)

.PHONY: psql
psql: ## Open psql on the development database
	@exec $(MAKE) psql-$(WHERE)

.PHONY: redis-cli
redis-cli: ## Open redis-cli on the development Redis
	@exec $(MAKE) redis-cli-$(WHERE)

##@ Containers

.PHONY: image
image: ## Build the production image: make image [TAG=…]
	@TAG=$(TAG) deploy/build

.PHONY: test-stack
test-stack: tools ## Run the tests against real containers
	@PATH="$(CURDIR)/$(VENV):$$PATH" exec $(VENV)/python -m pytest -p no:xdist --confcutdir=tests/stack $(if $(T),$(T),tests/stack)

.PHONY: test-stack-long
test-stack-long: ## The same for as long as a release claims: 60 s of load, 20 starts, a slow database
	@STACK_LOAD_SECONDS=60 STACK_UPS=20 STACK_SLOW_INIT=25 exec $(MAKE) test-stack \
		T="$(if $(T),$(T),tests/stack) --durations=0 -o log_cli=true --log-cli-level=INFO"

.PHONY: test-image
test-image: ## Run the tests inside the image, on its own Python: make test-image [T=…]
	@TAG=test deploy/build --quiet --target test >/dev/null
	@exec docker run --rm --init --read-only --cap-drop ALL --security-opt no-new-privileges \
		--tmpfs /tmp:exec,size=2g $${APP_IMAGE:-drydock}:test $(if $(T),python -m pytest -p no:cacheprovider $(T))

.PHONY: test-workflows
test-workflows: tools ## Run the workflows here, with act, up to a registry on 127.0.0.1
	@PATH="$(CURDIR)/$(VENV):$$PATH" exec $(VENV)/python -m pytest -p no:xdist --confcutdir=tests/workflows $(if $(T),$(T),tests/workflows)

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

##@ The pipeline, on this machine

# The workflows call these and add only what GitHub alone can give: .github/workflows.

.PHONY: scan
scan: tools ## Look for what is known to be wrong with an image: make scan [IMAGE=…]
	@PATH="$(CURDIR)/$(VENV):$$PATH" exec deploy/pipeline/scan "$(IMAGE)" $(PLATFORM)

.PHONY: sbom
sbom: tools ## List every package of an image with its version: make sbom [IMAGE=…]
	@PATH="$(CURDIR)/$(VENV):$$PATH" exec deploy/pipeline/sbom "$(IMAGE)" $(PLATFORM)

.PHONY: stage
stage: image ## Build this commit into a registry on 127.0.0.1; its name there has its digest
	@deploy/pipeline/stage "$(BUILT)"

.PHONY: push
push: ## Push this commit's image by digest, without a tag: make push REGISTRY=ghcr.io REPOSITORY=owner/name
	@REGISTRY=$(REGISTRY) REPOSITORY=$(REPOSITORY) deploy/pipeline/push $(STAGED)

.PHONY: promote
promote: ## Give tags to what was pushed: make promote FROM=<digest or tag> TAG="<tag> latest"
	@REGISTRY=$(REGISTRY) REPOSITORY=$(REPOSITORY) deploy/pipeline/promote "$(FROM)" $(TAG)

.PHONY: rescan
rescan: tools ## Scan what is published: make rescan REGISTRY=ghcr.io REPOSITORY=owner/name [TAG=latest]
	@PATH="$(CURDIR)/$(VENV):$$PATH" REGISTRY=$(REGISTRY) REPOSITORY=$(REPOSITORY) exec deploy/pipeline/rescan "$(TAG)"

.PHONY: verify
verify: ## Check who signed and built an image: make verify REGISTRY=ghcr.io REPOSITORY=owner/name TAG=…
	@REGISTRY=$(REGISTRY) REPOSITORY=$(REPOSITORY) deploy/pipeline/verify "$(TAG)"

##@ Production on one host

.PHONY: deploy
deploy: ## Replace the running version without dropping a request: make deploy TAG=…
	@deploy/release $(TAG)

DEPLOYED = $${STATE_DIR:-.deployed}
.PHONY: rollback
rollback: ## Put the version before in the place of the running one
	@test -s $(DEPLOYED) || { echo 'Nothing was deployed here yet: make deploy TAG=…' >&2; exit 1; }
	@deploy/release $$(cut -d ' ' -f 2 $(DEPLOYED))

.PHONY: backup
backup: ## Write everything that Postgres holds to backups/
	@deploy/backup

.PHONY: restore
restore: ## Put a backup in the place of the data: make restore FILE=backups/…
	@deploy/restore "$(FILE)"

##@ Cleaning

.PHONY: clean
clean: ## Remove caches and .venv; the data stays
	@deploy/pipeline/stage --stop
	rm -rf .pipeline .venv .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

.PHONY: clean-data
clean-data: ## Remove databases, token and logs, after asking: make clean-data [YES=1]
	@exec $(PYTHON) dev/bootstrap.py remove-data $(if $(YES),--yes)

# One target for each RUNTIME. Docker is enough for the stack: Python only adds that other clones can
# run beside it.

.PHONY: dev-embedded
dev-embedded: env
	@exec $(DEV) up

.PHONY: dev-docker
dev-docker:
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		exec $(PYTHON) dev/bootstrap.py stack; \
	else \
		exec docker compose up --build --remove-orphans; \
	fi

.PHONY: migrate-embedded migration-embedded psql-embedded redis-cli-embedded
migrate-embedded: env
	@exec $(DEV) run -- python -m app migrate
migration-embedded: env
	@exec $(DEV) run -- python -m alembic revision --autogenerate -m "$$m"
psql-embedded: env
	@exec $(DEV) run -- psql
redis-cli-embedded: env
	@command -v redis-cli >/dev/null || { echo 'redis-cli is not installed: apt install redis-tools, or brew install redis' >&2; exit 1; }
	@exec $(DEV) run -- sh -c 'exec redis-cli -h "$$REDIS_HOST" -p "$$REDIS_PORT"'

.PHONY: migrate-docker migration-docker psql-docker redis-cli-docker
migrate-docker:
	@exec docker compose run --rm migrate
migration-docker:
	@exec docker compose run --rm --no-deps app python -m alembic revision --autogenerate -m "$$m"
psql-docker:
	@exec docker compose run --rm psql
redis-cli-docker:
	@exec docker compose run --rm redis-cli

.PHONY: tools
tools: env
	@$(VENV)/uv pip install --quiet --python $(VENV)/python --require-hashes -r requirements-stack.txt

.PHONY: env
env:
	@command -v $(PYTHON) >/dev/null || { echo 'No $(PYTHON) here. Install Python 3.11 or newer, or name one: PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) dev/bootstrap.py
