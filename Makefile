# kerass2s: `make help` lists what there is.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
OUT ?= out/quickstart
# What the site runs in the browser; the theme would fetch them from elsewhere.
MERMAID := 11.17.2
IFRAME_WORKER := 1.0.4

.DEFAULT_GOAL := help
SMOKE ?= tests/text tests/data tests/models/test_seq2seq.py tests/export/test_onnx.py tests/export/test_saved_model.py \
    tests/reliability/test_bad_files.py tests/cli/test_inference.py
TESTS ?= tests
SECONDS ?= 1800
.PHONY: help quickstart test test-lowest test-latest coverage mutation peers benchmark speed audit engines lint format \
    notebooks docs lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

quickstart: $(STAMP) ## train, evaluate, export and check a model on real words (about ten minutes)
	$(BIN)/kerass2s quickstart --out $(OUT)

test: engines ## run every test (WORKERS=2)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-lowest: engines ## try the lowest versions that setup.py allows, in an environment of their own (SMOKE=tests)
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	$(PYTHON) .ci/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/constraints.txt --editable '.[all,test]'
	.venv-lowest/bin/python -m pytest -n $(WORKERS) $(SMOKE)

test-latest: engines ## try the newest versions that setup.py allows, in an environment of their own (SMOKE=tests)
	test -x .venv-latest/bin/python || $(PYTHON) -m venv .venv-latest
	.venv-latest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[all,test]'
	.venv-latest/bin/python -m pytest -n $(WORKERS) $(SMOKE)

peers: ## install what the benchmarks compare with, in an environment of its own
	PYTHON=$(PYTHON) benchmarks/peers/install.sh

benchmark: $(STAMP) peers ## compare training and decoding with PyTorch, by turns (half an hour; an idle machine)
	$(BIN)/python benchmarks/peers/compare_training.py
	$(BIN)/python benchmarks/peers/compare_decoding.py
	$(BIN)/python benchmarks/peers/draw.py

speed: $(STAMP) ## look for slowdowns, by ratios to fixed references (a minute)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/regression.py

coverage: engines ## run every test and count the branches that were taken, which is slower by half (WORKERS=2, TESTS=tests)
	$(BIN)/python -m pip install --quiet 'coverage>=7.10'
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --fail-under=90

mutation: $(STAMP) ## change search and feedings in small ways, and see whether the tests notice (SECONDS=1800)
	$(BIN)/python .ci/mutants.py --seconds $(SECONDS)

audit: $(STAMP) ## ask for known vulnerabilities in the locked packages
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

engines: $(STAMP) ## install what the tests run exports with, beside this environment: Node, Chromium, MLServer, Beam
	tests/runtimes/install.sh
	PYTHON=$(CURDIR)/$(BIN)/python tests/deploy/install.sh

lint: $(STAMP) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(STAMP) ## run the notebooks' texts anew into .ipynb, with their figures (some minutes)
	$(BIN)/python -m pip install nbclient ipykernel
	$(BIN)/python docs/make_notebooks.py

docs: ## build the documentation site into site/ in an environment of its own, every warning an error
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --requirement docs/requirements.txt
	cd .venv-docs && { test -f mermaid-$(MERMAID).tgz || npm pack --silent mermaid@$(MERMAID) iframe-worker@$(IFRAME_WORKER); }
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build
	tar -xzOf .venv-docs/mermaid-$(MERMAID).tgz package/dist/mermaid.min.js > site/assets/mermaid.min.js
	tar -xzOf .venv-docs/iframe-worker-$(IFRAME_WORKER).tgz package/shim/index.js > site/assets/iframe-worker.js

lock: $(STAMP) ## pin the newest allowed versions anew, with their hashes
	$(BIN)/python -m pip install pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile setup.py --upgrade --all-extras --all-build-deps \
	    --allow-unsafe --generate-hashes --strip-extras --no-emit-options --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock
	for name in mlserver beam; do \
	    $(BIN)/python -c "from kerass2s.deploy.$$name import REQUIREMENTS; print(*REQUIREMENTS, sep='\n')" \
	        | CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile - --upgrade --allow-unsafe --generate-hashes \
	        --strip-extras --no-emit-options --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	        --output-file tests/deploy/$$name.lock || exit 1; \
	done

clean: ## remove the environment and what tools and runs left behind
	rm -rf $(VENV) .venv-lowest .venv-latest .venv-peers .venv-docs .engines tests/runtimes/node_modules
	rm -rf build dist out runs site *.egg-info
	rm -rf .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made anew only when the lock or the metadata changed, so a second run starts at once.
$(STAMP): requirements.lock setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "no python3.11 or python3 found; name one: make PYTHON=/path/to/python" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
