# make demo: set up and show the whole way on a small cohort with known truth
# make test: set up and run every check; make test-faults: kill, fill and break, at length
PYTHON ?= python3
BIN := .venv/bin
NPROCS ?= $(shell nproc)

.PHONY: demo test setup lint unit bench bench-inventory bench-real bench-registration bench-preprocess bench-qsm bench-features bench-modelling lock
.PHONY: format clean test-mirp test-faults

demo: setup
	$(BIN)/voxelome-tools demo demo --nprocs $(NPROCS)

test: setup lint unit

setup: .venv/.ready

# Debian's Python comes without ensurepip: python3-venv brings it.
.venv/.ready: envs/lock.txt pyproject.toml
	$(PYTHON) -m venv .venv || { apt-get install -y -qq python3-venv && $(PYTHON) -m venv --clear .venv; }
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -r envs/lock.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/voxelome-tools models fetch deepbet
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules

unit: setup
	$(BIN)/pytest -n $(NPROCS) --dist worksteal --ignore tests/workflow --ignore tests/e2e --ignore tests/faults
	$(BIN)/pytest -n $(NPROCS) --dist loadfile tests/workflow tests/e2e tests/faults

# With twenty kills at random moments: a quarter of an hour, or more.
test-faults: setup
	VOXELOME_TEST_FAULTS=1 $(BIN)/pytest tests/faults

# The IBSI engine: mirp needs a newer scipy than antspyx allows, so it has an environment of its own.
test-mirp: .venv-mirp/.ready
	PYTHONPATH=src .venv-mirp/bin/python -m pytest --noconftest tests/numerics/test_ibsi_engine.py

.venv-mirp/.ready: envs/radiomics-ibsi.txt
	$(PYTHON) -m venv --clear .venv-mirp
	.venv-mirp/bin/pip install -q --disable-pip-version-check --no-deps -r envs/radiomics-ibsi.txt
	.venv-mirp/bin/pip install -q --disable-pip-version-check "pytest>=8.3"
	touch $@

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

bench: bench-inventory bench-real bench-registration bench-preprocess bench-qsm bench-features bench-modelling

bench-inventory: setup
	$(BIN)/python benchmarks/inventory.py

bench-real: setup
	$(BIN)/python benchmarks/real_data.py --nprocs $(NPROCS)

bench-registration: setup
	$(BIN)/python benchmarks/registration.py

bench-preprocess: setup
	$(BIN)/python benchmarks/preprocess.py

bench-qsm: setup
	$(BIN)/python benchmarks/qsm.py

bench-features: setup
	$(BIN)/python benchmarks/features.py

bench-modelling: setup
	$(BIN)/python benchmarks/modelling.py
	$(BIN)/python benchmarks/known_truth.py

lock: setup
	PATH=$(CURDIR)/$(BIN):$$PATH sh envs/update.sh

clean:
	rm -rf .venv .venv-mirp demo
