# make        the environment (.venv), with a table of what is there
# make mini   the mini recipe: real speech, stages 0 to 7, on this machine
# make test   all tests
# make bench  the benchmarks, side by side with other implementations: ARGS="decode" and so on for one of them
# make test-faults   the fuller fault tests: every fault point, hundreds of kills and flips, longer fuzzing

PYTHON ?= python3
VENV := .venv
MINI := egs/prompts2mix/slm_ss
ARGS ?=

.DEFAULT_GOAL := install
.PHONY: install mini test test-faults bench lint clean help

install: ## make .venv and say what is installed
	tools/setup_venv.sh --python $(PYTHON) --venv $(VENV) --extras metrics
	$(VENV)/bin/python tools/check_install.py

mini: ## the mini recipe; ARGS="--stage 6" and so on are passed on
	tools/setup_venv.sh --python $(PYTHON) --venv $(VENV) --extras metrics
	$(MINI)/run.sh --stage 0 --stop-stage 7 $(ARGS)

test: ## all tests, in two processes; ARGS="tests/tokens -x" for some
	tools/setup_venv.sh --python $(PYTHON) --venv $(VENV) --extras metrics,codecs,separators,bench,dev
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -rs $(ARGS)

test-faults: ## the fault tests in full (an hour at most); ARGS as for test
	tools/setup_venv.sh --python $(PYTHON) --venv $(VENV) --extras metrics,codecs,separators,bench,dev
	CODECSEP_LONG_TESTS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile -rs -m long $(ARGS)

bench: ## the benchmarks; ARGS="decode --quick" for one of them, quickly
	tools/setup_venv.sh --python $(PYTHON) --venv $(VENV) --extras metrics,codecs,separators,bench
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m codecsep.bin.bench $(ARGS)

lint: ## ruff, and shellcheck where it is installed
	tools/setup_venv.sh --python $(PYTHON) --venv $(VENV) --extras metrics,codecs,separators,bench,dev
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/lint.sh

clean: ## remove what tests and tools leave behind; data, dump, exp and .venv stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis codecsep.egg-info
	find codecsep tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile
