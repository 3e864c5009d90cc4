# make demo: set up and show the whole way on a small cohort with known truth
# make test: set up and run every check; make test-faults: kill, fill and break, at length
PYTHON ?= python3
BIN := .venv/bin
NPROCS ?= $(shell nproc)
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/pytest
RECORD := $(BIN)/python benchmarks/record.py

.PHONY: demo test setup lint unit bench bench-inventory bench-real bench-registration bench-preprocess bench-qsm bench-features bench-modelling bench-segmentation bench-scale bench-overhead bench-images lock
# docs is a folder, too.
.PHONY: docs format clean test-mirp test-faults test-training test-browser images sif test-containers test-slurm test-grid-engine test-lsf

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

# A worker a core: threads of their own for linear algebra would be in each other's way. Thousands of Pythons start, which
# had better not compile everything anew.
unit: setup
	$(PYTEST) -n $(NPROCS) --dist worksteal --ignore tests/workflow --ignore tests/e2e --ignore tests/faults --ignore tests/browser --ignore tests/containers
	$(PYTEST) -n $(NPROCS) --dist loadfile tests/workflow tests/e2e tests/faults

# With twenty kills at random moments: a quarter of an hour, or more.
test-faults: setup
	VOXELOME_TEST_FAULTS=1 $(BIN)/pytest tests/faults

# Reports in a real browser; what cannot be set up here, the tests name as the reason why they are skipped.
test-browser: setup tests/browser/node_modules/.ready
	$(BIN)/pytest tests/browser

tests/browser/node_modules/.ready: tests/browser/package-lock.json
	for tool in chromium nodejs npm; do command -v $${tool%js} > /dev/null || apt-get install -y -qq $$tool || true; done
	mkdir -p tests/browser/node_modules
	cd tests/browser && npm ci --no-audit --no-fund && touch node_modules/.ready || true

# Builds all images and runs every stage in its own: half an hour, and what it takes is installed where it can be.
test-containers: setup
	VOXELOME_TEST_CONTAINERS=1 VOXELOME_RECORD_AS=containers $(BIN)/pytest tests/containers/test_images.py

# A real Slurm of one node, with images, and one job that fails on purpose.
test-slurm: setup
	VOXELOME_TEST_CONTAINERS=1 VOXELOME_TEST_SLURM=1 VOXELOME_RECORD_AS=slurm $(BIN)/pytest tests/containers/test_slurm.py

# A real Grid Engine of one node: a job that is killed, and one that fails on purpose.
test-grid-engine: setup
	VOXELOME_TEST_GRID_ENGINE=1 VOXELOME_RECORD_AS=grid-engine $(BIN)/pytest tests/containers/test_grid_engine.py

# The profile of LSF against a stand-in for LSF's commands: LSF itself cannot be installed freely.
test-lsf: setup
	VOXELOME_TEST_LSF=1 VOXELOME_RECORD_AS=lsf $(BIN)/pytest tests/containers/test_lsf.py

# The IBSI engine: mirp needs a newer scipy than antspyx allows, so it has an environment of its own.
test-mirp: .venv-mirp/.ready
	PYTHONPATH=src .venv-mirp/bin/python -m pytest --noconftest tests/numerics/test_ibsi_engine.py

.venv-mirp/.ready: envs/radiomics-ibsi.txt
	$(PYTHON) -m venv --clear .venv-mirp
	.venv-mirp/bin/pip install -q --disable-pip-version-check --no-deps -r envs/radiomics-ibsi.txt
	.venv-mirp/bin/pip install -q --disable-pip-version-check "pytest>=8.3"
	touch $@

# The documentation as pages: docs/_build/html/index.html. A warning is an error.
docs: setup .venv-docs/.ready
	$(BIN)/python docs/reference.py docs/generated
	.venv-docs/bin/sphinx-build -q -W --keep-going -b html docs docs/_build/html

.venv-docs/.ready: envs/docs.txt
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/pip install -q --disable-pip-version-check --no-deps -r envs/docs.txt
	touch $@

# Networks of other frameworks, and training: torch is in an environment of its own.
test-training: .venv-train/.ready
	.venv-train/bin/python -m pytest tests/importers tests/training

.venv-train/.ready: envs/train-constraints.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv-train
	.venv-train/bin/pip install -q --disable-pip-version-check -c envs/train-constraints.txt -e ".[import,train]" "pytest>=8.3"
	touch $@

# Images of the stages and of the BIDS App, with podman or docker. STAGES="qsm report" builds these alone; BUILD_OPTIONS
# are options of `podman build`; PIN=1 writes the digests into config/containers.yaml; ANEW=1 uses no layer made before.
images: setup
	$(BIN)/python containers/make.py build $(STAGES) $(if $(ANEW),--anew)
	$(if $(PIN),$(BIN)/python containers/make.py pin $(STAGES))

# The same as files for Apptainer, in IMAGES_DIR; SIF_OPTIONS are options of `apptainer build`.
sif: setup
	$(BIN)/python containers/make.py sif $(STAGES) $(if $(ANEW),--anew) $(if $(IMAGES_DIR),--images-dir $(IMAGES_DIR))

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

# What they print is kept in docs/benchmarks.
bench: bench-inventory bench-real bench-registration bench-preprocess bench-qsm bench-features bench-modelling \
	bench-segmentation bench-scale bench-overhead bench-images

bench-inventory: setup
	$(RECORD) inventory inventory.py

bench-real: setup
	$(RECORD) real-data "real_data.py --nprocs $(NPROCS)"

bench-registration: setup
	$(RECORD) registration registration.py

bench-preprocess: setup
	$(RECORD) preprocess preprocess.py

bench-qsm: setup
	$(RECORD) qsm qsm.py

bench-features: setup
	$(RECORD) features features.py

bench-modelling: setup
	$(RECORD) modelling modelling.py
	$(RECORD) known-truth known_truth.py

bench-segmentation: setup
	$(RECORD) segmentation-brain "segmentation.py brain"
	$(RECORD) segmentation "segmentation.py engine determinism fusion structures glioma"
	$(RECORD) segmentation-visits "segmentation.py visits healthy phantom draws"

bench-scale: setup
	$(RECORD) scale scale.py

bench-overhead: setup
	$(RECORD) overhead overhead.py

# Builds all images from nothing: half an hour.
bench-images: setup
	PYTHONPATH=. $(RECORD) images images.py

lock: setup
	PATH=$(CURDIR)/$(BIN):$$PATH sh envs/update.sh

clean:
	rm -rf .venv .venv-mirp .venv-train demo tests/browser/node_modules
