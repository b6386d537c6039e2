# The targets of this folder. The root Makefile includes this file where it is.

PYTEST = PATH="$(CURDIR)/$(VENV):$$PATH" $(VENV)/python -m pytest
CHECKS := template/checks

# Each of these also checks what only the template promises.
check: check-template
check-docker: check-template-docker
check-more: check-template-more

##@ The template: make init takes this part out

.PHONY: init
init: env ## Make it yours: make init NAME=orders [SAMPLE=no]
	@exec $(VENV)/python -m template.init $(call typed,NAME) $(call typed,SAMPLE)

.PHONY: check-template
check-template: env ## Test init, the pages and the pipeline's scripts; lock, rename and lint copies
	@exec $(PYTEST) -n 2 -p no:schemathesis template/tests/init template/tests/docs template/tests/pipeline
	@exec $(CHECKS)/lock
	@exec $(CHECKS)/by-hand
	@exec $(CHECKS)/init
	@exec $(CHECKS)/hooks

.PHONY: check-template-docker
check-template-docker: tools ## Follow docs/operations.md; run two clones beside each other in containers
	@exec $(CHECKS)/operations
	@exec $(CHECKS)/clones docker

.PHONY: check-template-more
check-template-more: tools-template ## Start fresh clones; use the page in Chromium; run the workflows with act
	@exec $(CHECKS)/first-start
	@exec $(CHECKS)/clones embedded
	@exec $(PYTEST) template/tests/newcomer
	@exec $(PYTEST) template/tests/workflows

.PHONY: template-lines
template-lines: env ## Count lines and files by room, here and in clones that init makes
	@exec $(VENV)/python -m template.lines

.PHONY: tools-template
tools-template: tools
	@$(VENV)/uv pip install --quiet --python $(VENV)/python --require-hashes -r template/requirements.txt
