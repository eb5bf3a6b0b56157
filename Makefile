# make demo       set everything up and run the main job: 5000 FBA models on this machine
# make test       set everything up and pass all tests            make test-unit   the fast ones (under a minute)
# make lint       format, lint and type checks                    make bench       ratios against peers; ONLY=overhead runs one
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0

.PHONY: demo test test-unit lint format bench setup setup-test setup-bench clean

demo: $(VENV)/.installed
	$(BIN)/python -m packhorse.cli.main version
	PATH="$(CURDIR)/$(BIN):$$PATH" bash deploy/demo.sh

test: setup-test
	$(BIN)/pytest -n 2 --dist loadgroup tests/unit
	$(BIN)/pytest tests/integration tests/acceptance

test-unit: $(VENV)/.installed
	$(BIN)/pytest -n 2 --dist loadgroup tests/unit

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup-bench
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Packhorse needs Python 3.11 or newer; $$($(PYTHON) --version) found. Set PYTHON=/path/to/python3.11."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends python3-venv python3-pip >/dev/null; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fba,dev]'
	touch $@

# PostgreSQL for the tests of the store; util-linux has setpriv and setsid
setup-test: $(VENV)/.installed
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends postgresql >/dev/null; }

setup-bench: setup-test
	@command -v parallel >/dev/null || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends parallel >/dev/null; }
	[ -e $(VENV)/.bench ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $(VENV)/.bench

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
