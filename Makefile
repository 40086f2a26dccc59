# Each target sets itself up: `make ablation` and `make test` are all a fresh machine needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= components
FUSE ?= 3
export PATH := $(CURDIR)/$(BIN):$(PATH)
export TOKENIZERS_PARALLELISM := false

.PHONY: help ablation layers lessons test test-full check bench gpu setup clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

ablation: $(VENV)/.run ## Train and score every stale cell of the default study, then write the report (STUDY=name for another)
	@python -m experiments launch --study $(STUDY) $(if $(FUSE),--fuse $(FUSE)) # three seeds of a variant as one network

layers: $(VENV)/.run ## Measure the layers of the paper's Table 1 and write their report (about 5 minutes, one quiet core)
	@python -m experiments layers

lessons: $(VENV)/.lessons ## Open the six lessons in JupyterLab, in notebooks/en and notebooks/ko
	@jupyter lab notebooks $(if $(filter 0,$(shell id -u)),--allow-root) # as in a container, where there is no one else

WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
test: $(VENV)/.dev ## Run the tests (about 12 minutes on two cores)
	@python -m pytest $(WORKERS) -m "not slow"

test-full: $(VENV)/.dev $(VENV)/.cluster $(VENV)/.fuzz $(VENV)/joeynmt ## Run the slow tests too, with Ray and 10,000 random inputs (over an hour), and say what was left out
	@python -m pytest $(WORKERS) -rs

check: $(VENV)/.dev ## Format, lint and types: ruff and mypy
	@ruff format --check .
	@ruff check .
	@mypy

# The override changes nothing but the run's folder, so that the study's own cell is left alone.
CELL := --study components --variant base --seed 0 optim.clip_norm=1.0
BENCH = benchmarks/results/$(shell $(BIN)/python -m benchmarks.environment)
bench: $(VENV)/.bench $(VENV)/joeynmt ## Compare training, learning and decoding with their peers, and time how training scales (about 37 minutes, quiet machine)
	@python -m benchmarks.training --rounds 3 --out $(BENCH)/training_small_float32.json
	@python -m benchmarks.training --rounds 3 --precision bfloat16 --out $(BENCH)/training_small_bfloat16.json
	@python -m benchmarks.training --rounds 2 --mixed --only "Hugging Face Marian" --out $(BENCH)/training_small_mixed.json
	@python -m benchmarks.training --rounds 3 --size tiny --tokens 1024 --batches 8 --out $(BENCH)/training_tiny_float32.json
	@python -m benchmarks.training --rounds 2 --size base --batches 1 --only "Hugging Face Marian" --out $(BENCH)/training_base_float32.json
	@python -m benchmarks.training --rounds 2 --size base --batches 1 --only "Hugging Face Marian" --precision bfloat16 --out $(BENCH)/training_base_bfloat16.json
	@python -m benchmarks.shares --out $(BENCH)/shares.json
	@python -m benchmarks.float32 --out $(BENCH)/float32.json
	@python -m benchmarks.scaling --out $(BENCH)/scaling.json
	@python -m experiments prepare --study components
	@python -m benchmarks.learning --seeds 2 --out $(BENCH)/learning_tiny.json
	@python -m benchmarks.learning --seeds 2 --size small --steps 350 --every 50 --warmup 70 --peak 0.002 --out $(BENCH)/learning_small.json
	@python -m benchmarks.overhead --out $(BENCH)/overhead.json
	@python -m experiments train $(CELL) --wandb disabled
	@python -m benchmarks.decoding $(CELL) --out $(BENCH)/beam_4.json
	@python -m benchmarks.decoding $(CELL) --beam 1 --out $(BENCH)/greedy.json
	@python -m benchmarks.random_decoding --rounds 3 --out $(BENCH)/small_beam_4.json
	@python -m benchmarks.random_decoding --rounds 3 --beam 1 --out $(BENCH)/small_beam_1.json
	@python -m benchmarks.random_decoding --size base --rounds 2 --sentences 80 --out $(BENCH)/base_beam_4.json
	@python -m benchmarks.summary

gpu: $(VENV)/.dev ## Test and measure a GPU: training beside its peers, cells per hour, decoding (9 minutes)
	@python -m benchmarks.gpu --minutes 9

setup: $(VENV)/.dev ## Only install, into .venv

clean: ## Remove runs, prepared data, the default study's lock and the environment; results and reports stay
	rm -rf runs data dvc.lock $(VENV)

# The file .run says that the library and the extra `studies` are installed as pinned; the others stand for one more extra.
$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; name it with make PYTHON=python3.12"; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing pinned packages into $(VENV) (once, some minutes)"
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[studies]'
	@touch $@

$(VENV)/.%: $(VENV)/.run
	@echo "installing the packages of the extra '$*' into $(VENV)"
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

# JoeyNMT excludes the protobuf that others need: it stands apart (benchmarks/joeynmt.txt). Without it there is no row.
$(VENV)/joeynmt: benchmarks/joeynmt.txt | $(VENV)/.run
	@echo "installing JoeyNMT into $@, for the benchmark alone"
	@rm -rf $@
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target $@ -r $< || rm -rf $@
