# Two commands: `make demo` and `make test`. Both set up .venv first, and both are quick when it is.
# `make oracles` sets up the other implementations that tests compare with; without them those tests
# are skipped.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Tests write thousands of small files, each of which is brought to the disk: they go to memory where
# /dev/shm has 2 GiB left.
IN_MEMORY = $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 2097152 { print $$6 }')

.PHONY: demo test networks hardware oracles lint mutants attack bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/aocq demo --out runs/demo
	$(BIN)/aocq demo --task detection --out runs/demo-detection

test: $(VENV)/.installed
	$(BIN)/python tests/compile_kernels.py $(WORKERS)
	PYTEST_DEBUG_TEMPROOT=$(IN_MEMORY) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not networks' --ignore tests/hardware --ignore tests/oracles --ignore tests/browser

# Real networks on photographs, and the golden hashes of all families on all profiles.
networks: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -m networks tests/cli tests/golden tests/aocq

# What needs other tools: Verilator, Icarus, Yosys, C compilers, Chromium, other implementations
# (`make oracles`).
hardware: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests/hardware tests/oracles tests/browser

oracles:
	$(PYTHON) tests/oracles/install.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutants: $(VENV)/.installed
	$(BIN)/python tests/mutants.py --jobs $(WORKERS)

attack: $(VENV)/.installed
	$(BIN)/python tests/attack

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.emulation

clean:
	rm -rf $(VENV) .oracles runs dist build
