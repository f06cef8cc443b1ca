# make repro        run the pipeline on the included sample (JOBS=8: eight methods in parallel, 2 by default)
# make pull         download results from the DVC remote
# make verify       check whether the metrics of the last run agree with those in git
# make experiments  print a table of all experiments
# make test         run the fast tests
# make test-all     run all tests
# make check        check format, lint and types
# make docs         build the documentation as a site: build/site/index.html
# make image        build the server's container image with docker or podman
# make clean        remove the data, models and logs that stages have written
# All targets except image and clean first create .venv with pip, with the versions in requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
JOBS ?= 2
PYTEST := python -m pytest -n 2 --dist loadgroup

.PHONY: repro pull experiments test test-all verify check docs image clean

# DVC runs one stage at a time, and a training of the sample uses one thread. Therefore, JOBS methods are run in parallel; the
# last dvc command runs all other stages.
repro: $(VENV)/ready
	python -m pipeline.repair
	dvc repro train_generator train_mask evaluate_selfies
	dvc stage list --name-only | sed -n 's/^train@//p' | sort -r | xargs -P $(JOBS) -I {} \
	    dvc --wait-for-lock repro --single-item train@{} paint@{} evaluate@{}
	dvc repro
	@cat metrics/compare.md

# Pulls the outputs of all stages in dvc.lock except `collect`, whose pictures are never pushed. A plain `dvc pull` would exit with
# an error for them, and leave an empty data/raw, which looks like a change.
pull: $(VENV)/ready
	dvc pull $$(dvc stage list --name-only | grep -v '^collect@' | sed 's/.*/  &:/' | grep -Fxf - dvc.lock | tr -d ' :')

experiments: $(VENV)/ready
	@python -m pipeline.experiments $(ARGS)

test: $(VENV)/ready $(VENV)/pretrained/NOTICE
	$(PYTEST) -m "not slow"

test-all: $(VENV)/ready $(VENV)/pretrained/NOTICE
	$(PYTEST)

check: $(VENV)/ready
	ruff check .
	ruff format --check .
	mypy

# build/pages has the same layout as the repository, so that relative links work.
docs: $(VENV)/ready
	rm -rf build/pages && mkdir -p build/pages
	git ls-files --cached --others --exclude-standard -z -- '*.md' docs data/sample/LICENSE | xargs -0 tar -cf - | tar -xf - -C build/pages
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo build/site/index.html

verify: $(VENV)/ready
	@python -m pipeline.verify $(ARGS)

image:
	@for builder in docker podman; do \
	    if $$builder info >/dev/null 2>&1; then exec $$builder build --tag portraitist .; fi; \
	done; echo "No container builder found: install and start docker, or install podman." >&2; exit 1

# setup.py builds the model in the package, so the package is installed again if a part of the model changes
$(VENV)/ready: pyproject.toml requirements.lock $(wildcard src/portraitist/shipped/*generator.onnx data/refiner/*.onnx)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version)'
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "This folder is not a git repository, which DVC needs: clone it, or run" \
	    "git init && git add --all && git commit -m start" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch torchvision -c requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[pipeline,dev]" -c requirements.lock
	@touch $@

$(VENV)/pretrained/NOTICE: src/portraitist/weights.py data/refiner/person_refiner.onnx | $(VENV)/ready
	rm -rf $(VENV)/pretrained
	python -m pipeline.weights --refiner data/refiner/person_refiner.onnx --dest $(VENV)/pretrained

clean:
	rm -rf data/sources data/raw data/clean data/crop data/mask data/augment data/paint data/split.csv models logs metrics/models
