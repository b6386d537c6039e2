# The targets of this folder. The root Makefile includes this file where it is.

COPIES := template/checks
# The value of a variable on make's command line. WSL sets NAME in the environment.
typed = $(if $(filter command,$(firstword $(origin $(1)))),"$$$(1)","")

# These add the template's own checks to the three checks.
check: check-template
check-docker: check-template-docker
check-more: check-template-more
test: $(if $(filter template/%,$(T)),tools-template)

##@ The template: make init takes this part out

.PHONY: init
init: env ## Give the service your name, and remove template/: make init NAME=orders [SAMPLE=no]
	@exec $(VENV)/python -m template.init $(call typed,NAME) $(call typed,SAMPLE)

.PHONY: check-template
check-template: env ## Test init, the pages and the pipeline's scripts; lock, rename and lint copies
	@$(CHECK) $(PARALLEL) template/tests/init template/tests/docs template/tests/pipeline
	@exec $(COPIES)/by-hand
	@exec $(COPIES)/init
	@exec $(COPIES)/hooks

# make check-docker and make check-more run these too: one run builds the images only once.
STACK += template/tests/containers

.PHONY: check-template-docker
check-template-docker: tools ## Follow docs/operations.md in a fresh clone
	@exec $(COPIES)/operations

.PHONY: check-template-more
check-template-more: tools-template ## Fresh clones up to production; ten features; Chromium; updates; workflows
	@exec $(COPIES)/first-start
	@exec $(COPIES)/clones embedded
	@exec $(COPIES)/clones docker
	@exec $(COPIES)/way-in
	@exec $(COPIES)/copies
	@$(CHECK) template/tests/newcomer
	@$(CHECK) template/tests/feature
	@$(CHECK) -s $(PARALLEL) template/tests/updates
	@$(CHECK) template/tests/workflows

.PHONY: template-lines
template-lines: env ## Count lines and files by room, here and in clones that init makes
	@exec $(VENV)/python -m template.lines

# This uses the pins of requirements-dev.txt. After a new pin there, run it again.
lock: lock-template
.PHONY: lock-template
lock-template: env
	@$(call lock,$(LOCKED) --constraints=requirements-dev.txt --output-file=template/requirements.txt template/requirements.in)

.PHONY: tools-template
tools-template: tools
	@$(VENV)/uv pip install --quiet --python $(VENV)/python --require-hashes -r template/requirements.txt
