# Drydock: the tasks of developers and of CI. `make` alone lists them.
#
# This file works with GNU make 3.81, which macOS ships: no .ONESHELL, no != assignment.

# Variables that may be set, as in: make dev PORT=8010
# By default the Python of .venv, or else the first that is 3.11 or newer.
# Not with ?=, which would search again at each use.
ifndef PYTHON
PYTHON := $(or $(shell dev/python),python3)
endif
# docker or embedded, also in .env. By default make dev takes docker if a Docker Engine answers.
RUNTIME ?= $(firstword $(shell sed -n 's/^ *\(export \)*RUNTIME=//p' .env 2>/dev/null | tr -d '"\r'\'))
# The tests to run, as in: make test T="tests/test_health.py -k frozen"
T ?=
# A stranger may have chosen TAG, IMAGE, FROM, FILE, REGISTRY or REPOSITORY: a git tag may be called v1;id.
# So recipes read them as "$$TAG" from the environment, where make puts what its command line has. $(TAG)
# would become a part of the command. Without TAG, it is the commit, with -dirty if any file differs.
WANTED = $${TAG:-$${GIT_SHA:-$$(deploy/pipeline/revision)}}
BUILT = $${APP_IMAGE:-drydock}:$(WANTED)

# RUNTIME, or an error if it is misspelt.
CHOSEN = $(if $(filter-out docker embedded,$(RUNTIME)),$(error $(MISSPELT)),$(RUNTIME))
MISSPELT = RUNTIME=$(RUNTIME): choose docker or embedded
# What `make dev` takes without RUNTIME. Without Python, only Docker can work.
BEST = $(if $(HAS_PYTHON),$(shell "$(PYTHON)" dev/bootstrap.py doctor --choose),$(if $(shell command -v docker 2>/dev/null),docker,embedded))
HAS_PYTHON = $(shell "$(PYTHON)" -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null)
# The runtime that runs now. make asks only if a target uses it.
WHERE = $(or $(CHOSEN),$(shell dev/within 10 deploy/project --where),embedded)
# Commands of development's containers begin with this. It fails if the stack of that name is another
# clone's or production's.
DEVELOPMENT_ONLY = @deploy/project development >/dev/null
# The options of `make jobs`.
CHANGED_JOB = $${RETRY:+"--retry=$$RETRY"} $${CANCEL:+"--cancel=$$CANCEL"}
# So that input can come from a pipe.
NO_TTY = $$(test -t 0 || echo -T)

VENV := .venv/bin
DEV := $(VENV)/python -m dev
# For the programs of requirements-tools.txt, which are in .venv.
WITH_TOOLS = PATH="$(CURDIR)/$(VENV):$$PATH"

# Tests that attack running services: faults, hostile input, everything the OpenAPI document allows.
# `make check` runs them, `make test` does not.
ATTACKS := $(wildcard tests/faults tests/test_contract.py tests/test_hostile*.py \
	tests/features/*/faults tests/features/*/test_hostile*.py)
PYTEST = $(WITH_TOOLS) $(VENV)/python -m pytest
# Checks run a failed test up to two more times. The summary lists it: "RERUN tests/…", "1 rerun".
CHECK = $(PYTEST) --reruns=2 --reruns-delay=2 -rR
PARALLEL = --numprocesses=auto
COVERED = --cov --cov-report=term:skip-covered
# Tests against containers that take minutes have the marker `long`.
STACK = tests/stack $(wildcard tests/features/*/stack)
# Traffic through random faults, for SOAK_SECONDS. SOAK_SEED repeats the faults of a run.
SOAKS = $(wildcard tests/features/*/faults/test_soak.py)

MAKEFLAGS += --no-print-directory
# If it is set, each start compiles all packages again: 16 s instead of 6.
unexport PYTHONDONTWRITEBYTECODE
# It hides app/ and dev/ from `python -m`.
unexport PYTHONSAFEPATH
# All files are UTF-8, whatever the locale says. A terminal may show some characters wrongly.
export PYTHONUTF8 := 1
unexport PYTHONIOENCODING
.DEFAULT_GOAL := help

# Renovate runs the command in the head of a lock file to update it, so this has only options that
# Renovate knows. The others are in pyproject.toml: [tool.uv.pip]. The two --no-emit options keep a
# machine's own index out of the file.
define lock
$(VENV)/uv pip compile --quiet --python $(VENV)/python --no-emit-index-url --no-emit-find-links \
	$(LOCK_FLAGS) --custom-compile-command "uv pip compile $(1)" $(1)
endef
LOCKED = --universal --python-version=3.11 --generate-hashes

##@ Start here

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo

# With Docker, OBSERVABILITY=1 adds Prometheus, Grafana and Jaeger: docs/day-two.md.
ifdef OBSERVABILITY
dev: export COMPOSE_PROFILES := observability
endif
.PHONY: dev
dev: ## Run everything with reload: make dev [RUNTIME=embedded] [PORT=8000]
	@exec $(MAKE) dev-$(or $(CHOSEN),$(BEST),embedded)

.PHONY: doctor
doctor: ## Say what is wrong with this machine, and the remedy
	@exec "$(PYTHON)" dev/bootstrap.py doctor $(CHOSEN:%=--runtime=%)

.PHONY: test
test: env $(if $(filter tests/stack% %/stack,$(T)),tools) ## Run the tests: make test [T="tests/test_x.py -k name"]
	@$(PYTEST) $(if $(T),$(T),$(PARALLEL) -p no:schemathesis $(ATTACKS:%=--ignore=%) $(COVERED))

##@ Checks: what CI runs, by what each needs

.PHONY: check
check: lint check-locks check-advisories check-previous ## Python and git: style, types, locks, migrations, and all tests that need no container
	@$(CHECK) $(PARALLEL) $(COVERED)

.PHONY: check-docker
check-docker: tools ## An Engine too: the image, the production and the development stack
	@$(CHECK) -m "not long" $(STACK)

.PHONY: check-more
check-more: tools ## Minutes of load and of faults, 20 starts, a slow database, all tests inside the image
	@STACK_LOAD_SECONDS=60 STACK_UPS=20 STACK_SLOW_INIT=25 SOAK_SECONDS=$${SOAK_SECONDS:-60} \
		$(CHECK) --durations=0 -o log_cli=true --log-cli-level=INFO $(STACK) $(SOAKS)
	@TAG=test deploy/build --quiet --target test >/dev/null
	@docker run --rm --init --read-only --cap-drop ALL --security-opt no-new-privileges \
		--tmpfs /tmp:exec,size=2g $${APP_IMAGE:-drydock}:test

# The nodes must have the images drydock:$ONE and drydock:$TWO, postgres and redis.
.PHONY: test-kubernetes
test-kubernetes: tools ## Load the service in a cluster through deploys and faults: make test-kubernetes KUBECONFIG=… ONE=… TWO=…
	@CHANGED_CLUSTER=yes KUBECONFIG="$${KUBECONFIG:?Name a cluster that may be changed: KUBECONFIG=…}" \
		$(CHECK) -o log_cli=true --log-cli-level=INFO $(wildcard tests/features/*/kubernetes)

.PHONY: check-locks
check-locks: env
	@before=$$(cat requirements*.txt | cksum) && $(MAKE) lock && test "$$before" = "$$(cat requirements*.txt | cksum)" \
		|| { echo 'The locks did not fit pyproject.toml. make lock has written new ones: commit them.' >&2; exit 1; }

.PHONY: check-previous
check-previous: env
	@deploy/pipeline/check-previous

.PHONY: check-advisories
check-advisories: tools
	@$(WITH_TOOLS) deploy/pipeline/advisories

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
	@$(call lock,$(LOCKED) --output-file=requirements.txt pyproject.toml)
	@$(call lock,$(LOCKED) --group=dev --constraints=requirements.txt --output-file=requirements-dev.txt pyproject.toml)
	@$(call lock,$(LOCKED) --constraints=requirements-dev.txt --output-file=requirements-tools.txt requirements-tools.in)

.PHONY: bench
bench: env ## Measure what requests cost, beside FastAPI alone: make bench [PLOT=docs/scale.svg]
	@exec $(VENV)/python -m bench $(if $(PLOT),--plot "$$PLOT")

# FIELDS, and the options SINGULAR=, JOBS=yes and PANEL=no: docs/your-first-feature.md explains them.
# UNDO first takes the migration out of the development database.
.PHONY: feature
feature: env ## Write a new feature: make feature NAME=invoices FIELDS="number:str:unique due:date"
ifdef UNDO
	@exec 3>&1 && set -e && changes=$$($(VENV)/python -m dev.feature.undo --revisions "$$UNDO") \
		&& REVISIONS="$$changes" $(MAKE) unmigrate-$(WHERE) >&3
	@exec $(VENV)/python -m dev.feature.undo "$$UNDO"
else
	@exec $(VENV)/python -m dev.feature.write "$${NAME-}" "$${FIELDS-}" --singular "$${SINGULAR-}" \
		$(if $(filter yes,$(JOBS)),--jobs) $(if $(filter no,$(PANEL)),--no-panel)
endif

# FROM, TO and SOURCE are read from the environment, where make puts what its command line has.
.PHONY: update
update: env ## Take in a newer version of what this was cloned from: make update [TO=v1.4.0]
	@exec $(DEV) update

##@ Database

# These use the development stack if it runs, and the embedded servers otherwise. RUNTIME= forces one.

.PHONY: migrate
migrate: ## Bring the schema up to date
	@exec $(MAKE) migrate-$(WHERE)

# The message stays in the environment, so quotes and dollars in it are safe.
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

# RETRY and CANCEL are read from the environment, where make puts what its command line has.
.PHONY: jobs
jobs: ## List the worker's jobs, run one again or cancel one: make jobs [RETRY=id] [CANCEL=id]
	@exec $(MAKE) jobs-$(WHERE)

##@ Containers

.PHONY: image
image: ## Build the production image: make image [TAG=…]
	@deploy/build

.PHONY: secrets
secrets: ## Write the secret files that are missing
	@deploy/make-secrets

.PHONY: prod
prod: ## Build this folder and run it in production on this host
	@deploy/release --build "$(WANTED)"

.PHONY: down
down: ## Stop the development stack; the data stays
	$(DEVELOPMENT_ONLY)
	@docker compose --profile '*' down

.PHONY: logs
logs: ## Follow the logs of development
	@exec $(MAKE) logs-$(WHERE)

.PHONY: shell
shell: ## Open a shell in which the service's programs find their settings and servers
	@exec $(MAKE) shell-$(WHERE)

##@ The pipeline, on this machine

# The workflows in .github/workflows call these.

.PHONY: scan
scan: tools ## Look for known vulnerabilities of an image: make scan [IMAGE=…]
	@$(WITH_TOOLS) deploy/pipeline/scan "$${IMAGE:-$(BUILT)}"

.PHONY: sbom
sbom: tools ## List every package of an image with its version: make sbom [IMAGE=…]
	@$(WITH_TOOLS) deploy/pipeline/sbom "$${IMAGE:-$(BUILT)}"

.PHONY: stage
stage: image ## Build this commit into a registry on 127.0.0.1; its name there has its digest
	@deploy/pipeline/stage "$(BUILT)"

.PHONY: push
push: ## Push this commit's image by digest, without a tag: make push REGISTRY=ghcr.io REPOSITORY=owner/name
	@set -f; exec deploy/pipeline/push $$STAGED

.PHONY: promote
promote: ## Give tags to what was pushed: make promote FROM=<digest or tag> TAG="<tag> latest"
	@set -f; exec deploy/pipeline/promote "$$FROM" $$TAG

.PHONY: rescan
rescan: tools ## Scan what is published: make rescan REGISTRY=ghcr.io REPOSITORY=owner/name [TAG=latest]
	@$(WITH_TOOLS) deploy/pipeline/rescan "$${TAG:-latest}"

.PHONY: verify
verify: ## Check who signed and built an image: make verify REGISTRY=ghcr.io REPOSITORY=owner/name TAG=…
	@exec deploy/pipeline/verify "$$TAG"

##@ Production on one host

.PHONY: deploy
deploy: ## Run a version, the first or the next, without dropping a request: make deploy TAG=…
	@deploy/release "$(WANTED)"

.PHONY: rollback
rollback: ## Put the version before in the place of the running one
	@deploy/release --rollback

.PHONY: backup
backup: ## Write everything that Postgres holds to backups/
	@deploy/backup

.PHONY: restore
restore: ## Put a backup in the place of the data: make restore FILE=backups/…
	@deploy/restore "$$FILE"

##@ Production on Kubernetes

# TAG, OVERLAY and APP_IMAGE: deploy/kubernetes/release explains them.

.PHONY: kubernetes-diff
kubernetes-diff: tools ## Show what a version would change in the cluster: make kubernetes-diff TAG=…
	@$(WITH_TOOLS) deploy/kubernetes/release diff

.PHONY: kubernetes-deploy
kubernetes-deploy: tools ## Migrate, then replace app and worker, by digest: make kubernetes-deploy TAG=…
	@$(WITH_TOOLS) deploy/kubernetes/release deploy

.PHONY: kubernetes-rollback
kubernetes-rollback: tools ## Put the version before in the place of the running one, in the cluster
	@$(WITH_TOOLS) deploy/kubernetes/release rollback

##@ Cleaning

.PHONY: clean
clean: ## Remove caches and .venv; the data stays
	@deploy/pipeline/stage --stop
	rm -rf .pipeline .venv .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

.PHONY: clean-data
clean-data: ## Remove databases, token and logs, after asking: make clean-data [YES=1]
	@exec "$(PYTHON)" dev/bootstrap.py remove-data $(if $(YES),--yes)

# One target for each RUNTIME. The stack needs no Python. With Python, dev/bootstrap.py gives each
# clone its own ports and names.

# Under a strict umask, the containers' users could not read the files that Compose mounts.
.PHONY: open-files
dev-docker: open-files
open-files:
	@deploy/open-files

.PHONY: dev-embedded
dev-embedded: env
	@exec $(DEV) up

.PHONY: dev-docker
dev-docker:
	@if "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		exec "$(PYTHON)" dev/bootstrap.py stack; \
	else \
		deploy/project --claim && exec docker compose up --build; \
	fi

# REVISIONS: that of a migration, and the one before it.
UNMIGRATE = set -- $$REVISIONS; if python -m alembic current 2>/dev/null | grep -q "^$$1"; then \
	python -m alembic downgrade "$$2"; fi

.PHONY: migrate-embedded migration-embedded psql-embedded redis-cli-embedded unmigrate-embedded \
	logs-embedded shell-embedded jobs-embedded
migrate-embedded: env
	@exec $(DEV) run --owner -- python -m app migrate
migration-embedded: env
	@exec $(DEV) run --owner -- python -m alembic revision --autogenerate -m "$$m"
logs-embedded:
	@echo 'The terminal of make dev has the lines of app and worker. These are those of Postgres and Redis:'
	@exec tail -n 50 -F .local/*/*.log
shell-embedded: env
	@exec $(DEV) run -- "$${SHELL:-sh}"
unmigrate-embedded: env
	@exec $(DEV) run --owner -- sh -c '$(UNMIGRATE)'
psql-embedded: env
	@exec $(DEV) run --owner -- psql
redis-cli-embedded: env
	@command -v redis-cli >/dev/null || { echo 'redis-cli is not installed: apt install redis-tools, or brew install redis' >&2; exit 1; }
	@exec $(DEV) run --owner -- sh -c 'exec redis-cli -h "$$REDIS_HOST" -p "$$REDIS_PORT" --user "$$REDIS_USER"'
jobs-embedded: env
	@exec $(DEV) run -- python -m app jobs $(CHANGED_JOB)

.PHONY: migrate-docker migration-docker psql-docker redis-cli-docker unmigrate-docker \
	logs-docker shell-docker jobs-docker
# Without --no-deps, Compose would make db anew if its port is not the one in .env.
migrate-docker:
	$(DEVELOPMENT_ONLY)
	@exec docker compose run --rm --no-deps migrate
migration-docker:
	$(DEVELOPMENT_ONLY)
	@exec docker compose run --rm --no-deps migrate python -m alembic revision --autogenerate -m "$$m"
logs-docker:
	$(DEVELOPMENT_ONLY)
	@docker compose logs --follow --tail 50
shell-docker:
	$(DEVELOPMENT_ONLY)
	@docker compose exec $(NO_TTY) app sh
unmigrate-docker:
	$(DEVELOPMENT_ONLY)
	@exec docker compose run --rm --no-deps -e REVISIONS migrate sh -c '$(UNMIGRATE)'
psql-docker:
	$(DEVELOPMENT_ONLY)
	@exec docker compose exec $(NO_TTY) db psql --username drydock_owner drydock
redis-cli-docker:
	$(DEVELOPMENT_ONLY)
	@exec docker compose exec $(NO_TTY) redis sh -c 'REDISCLI_AUTH="$$(cat /tmp/admin)" exec redis-cli --user admin'
jobs-docker:
	$(DEVELOPMENT_ONLY)
	@exec docker compose exec $(NO_TTY) app python -m app jobs $(CHANGED_JOB)

.PHONY: migrate-production migration-production psql-production redis-cli-production unmigrate-production \
	logs-production shell-production jobs-production
migrate-production migration-production psql-production redis-cli-production unmigrate-production \
	logs-production shell-production jobs-production:
	@echo 'This command is for development, and this folder runs production. docs/operations.md has the' \
		'commands of production. To use development all the same, add RUNTIME=embedded or RUNTIME=docker.' >&2; exit 1

.PHONY: tools
tools: env
	@$(VENV)/uv pip install --quiet --python $(VENV)/python --no-build --require-hashes -r requirements-tools.txt

.PHONY: env
env:
	@command -v "$(PYTHON)" >/dev/null || { echo 'No $(PYTHON) here. Install Python 3.11 or newer, or name one: PYTHON=python3.12' >&2; exit 1; }
	@"$(PYTHON)" dev/bootstrap.py

-include template/template.mk # template
