# make demo       set everything up and run the main job: 5000 FBA models on this machine
# make demo-assembly   100 genomes assembled in containers, on a Slurm cluster of this machine
# make demo-rnaseq     RNA-seq of 100 samples, a pipeline of containers on that cluster; make demo-similarity   2000 contigs against proteins
# make test       set everything up and pass all tests            make test-unit   the fast ones (under a minute)
# make cluster-up a Slurm cluster on this machine to try things on; make cluster-down ends it
# make images     the example apps' container images, from Debian and PyPI packages
# make lint       format, lint and type checks                    make bench       ratios against peers; ONLY=overhead runs one
# make bench-estimation TRACES=DIR   estimates against peers, on traces that you have
# make reference  the pages of docs/reference, from the code
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APPS_APT := abyss megahit minimap2 art-nextgen-simulation-tools ragout-examples \
  hisat2 samtools stringtie augustus-doc diamond-aligner ncbi-blast+ mmseqs2-examples
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0

.PHONY: cluster-up cluster-down demo demo-assembly demo-rnaseq demo-similarity images setup-apps test test-unit lint format reference bench bench-estimation setup setup-test setup-bench clean

demo: $(VENV)/.installed
	$(BIN)/python -m packhorse.cli.main version
	PATH="$(CURDIR)/$(BIN):$$PATH" bash deploy/demo.sh

demo-assembly: setup-apps
	PATH="$(CURDIR)/$(BIN):$$PATH" bash deploy/demo-assembly.sh

demo-rnaseq demo-similarity: setup-apps
	PATH="$(CURDIR)/$(BIN):$$PATH" bash deploy/$@.sh

# What runs beside the others once the cluster's tests and those of user stories are over, so that both take as long; nothing of it
# uses Podman, whose storage is one for the machine
LATER := $(addprefix tests/integration/,report schedulers secrets sizing ssh store transports webhooks)

# Tests start hundreds of processes: none should compile our source again where Python was told to write no bytecode
test: setup-test
	@$(BIN)/python -m compileall -q src
	$(BIN)/pytest -n 2 tests/unit
	@echo "tests of the cluster, and then of user stories, run beside the others; what they say follows at the end"
	@{ $(BIN)/pytest -m cluster --durations=10 tests/integration tests/acceptance; cluster=$$?; \
	  $(BIN)/pytest -m "not cluster" --durations=5 tests/acceptance $(LATER); exit $$((cluster + $$?)); } >.beside-tests.log 2>&1 & beside=$$!; \
	$(BIN)/pytest -m "not cluster" --durations=15 $(addprefix --ignore=,$(LATER)) tests/integration; others=$$?; \
	wait $$beside; beside=$$?; cat .beside-tests.log; exit $$((others + beside))

test-unit: $(VENV)/.installed
	$(BIN)/pytest -n 2 tests/unit

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: $(VENV)/.installed
	$(BIN)/python -m tools.reference

bench: setup-bench
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

# Traces of Nextflow and logs of batch systems are whoever's who runs this: docs/estimation.md
bench-estimation: $(VENV)/.installed
	@test -n "$(TRACES)" || { echo "Say where the traces are: make bench-estimation TRACES=DIR"; exit 1; }
	$(BIN)/python -m bench.estimation --traces "$(TRACES)"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Packhorse needs Python 3.11 or newer; $$($(PYTHON) --version) found. Set PYTHON=/path/to/python3.11."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends python3-venv python3-pip >/dev/null; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fba,dev]'
	touch $@

# Assemblers, aligners, searches, a simulator, genomes with genes, and proteins
setup-apps: $(VENV)/.installed
	@dpkg -s $(APPS_APT) >/dev/null 2>&1 || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends $(APPS_APT) >/dev/null; }

# PostgreSQL for the tests of the store, an SSH server and login shells for those of transports, a browser for those of
# reports; util-linux has setpriv and setsid
setup-test: setup-apps $(VENV)/rocrate/.installed $(VENV)/snakemake/.installed $(VENV)/toil/.installed
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends postgresql >/dev/null; }
	@{ PATH=$$PATH:/usr/sbin; command -v sshd && command -v tcsh && command -v fish; } >/dev/null || bash deploy/testcluster/install.sh sshd
	@command -v chromium >/dev/null || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends chromium >/dev/null; }

# A validator of research objects, in an environment of its own: it wants an older rich than we have
$(VENV)/rocrate/.installed: $(VENV)/.installed
	[ -x $(VENV)/rocrate/bin/python ] || $(PYTHON) -m venv $(VENV)/rocrate
	$(VENV)/rocrate/bin/python -m pip install --quiet --disable-pip-version-check roc-validator==0.13.0
	touch $@

# Other clients of TES: Toil, which wants older packages; and the newest py-tes, without the tools that it would install to build its pages
$(VENV)/toil/.installed: $(VENV)/.installed
	[ -x $(VENV)/toil/bin/python ] || $(PYTHON) -m venv $(VENV)/toil
	$(VENV)/toil/bin/python -m pip install --quiet --disable-pip-version-check 'toil[cwl]==7.0.0' toil-batch-system-tes==2.0.0 six==1.17.0
	$(VENV)/toil/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/py-tes py-tes==1.1.4
	touch $@

setup-bench: setup-test $(VENV)/.bench $(VENV)/snakemake/.installed
	@command -v parallel >/dev/null || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y --no-install-recommends parallel >/dev/null; }

# A peer for pipelines, and a client of TES, in an environment of its own: it wants an older packaging than we have
$(VENV)/snakemake/.installed: $(VENV)/.installed
	[ -x $(VENV)/snakemake/bin/python ] || $(PYTHON) -m venv $(VENV)/snakemake
	$(VENV)/snakemake/bin/python -m pip install --quiet --disable-pip-version-check snakemake==9.27.1 snakemake-executor-plugin-slurm==2.8.0 \
	  snakemake-executor-plugin-tes==0.1.3 snakemake-storage-plugin-s3==0.3.6 six==1.17.0
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

# A Slurm cluster of four nodes on this machine, with the sites 'testcluster' and 'testcluster-ssh'
cluster-up: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash deploy/testcluster/up.sh

cluster-down:
	bash deploy/testcluster/down.sh

images:
	@for recipe in apps/*/image; do bash deploy/images/build.sh "$$(basename "$$(dirname "$$recipe")")" || exit; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
