# Everything runs in a virtual environment inside this folder; nothing else on the machine is touched.
#
#   make run     simulate three recorded programs sharing a machine that is too small for them
#   make test    the fast test suite
#   make help    the other targets
#
# PYTHON selects the interpreter (3.11 or later) and VENV the folder of the environment, for example
#   make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -W error -x -q

SOURCES := setup.py $(sort $(wildcard memcore/*.pyx memcore/*.pxd memcore/*.h \
    pymem/traces/*.pyx pymem/traces/*.pxd pymem/workloads/*.pyx))

SCENARIO ?= examples/three_programs.toml
OUT ?= out/$(basename $(notdir $(SCENARIO)))

# Hypothesis draws the same examples in every run; HYPOTHESIS_PROFILE=thorough draws many new ones.
export HYPOTHESIS_PROFILE ?= ci

.DELETE_ON_ERROR:
.PHONY: help run test test-slow bench docs lint debug asan cover build clean distclean

help:
	@echo 'make run        simulate $(SCENARIO), full result in $(OUT)'
	@echo 'make test       fast test suite'
	@echo 'make test-slow  the remaining tests'
	@echo 'make bench      benchmarks, each beside a bare loop over a flat array'
	@echo 'make docs       documentation and Python interface as pages in build/docs'
	@echo 'make lint       ruff, cython-lint, mypy'
	@echo 'make debug      engine tests in a build with MM_BUG_ON and bounds checks'
	@echo 'make asan       engine tests in a build with address and undefined-behaviour sanitizers'
	@echo 'make cover      line coverage of Python (coverage.py) and of the engine (gcov)'
	@echo 'make build      compile the engine in place'
	@echo 'make clean      remove everything built; make distclean also removes $(VENV)'

# ---- environment ------------------------------------------------------------------------------------------
# Stamps in the environment say what is done: a second `make test` installs nothing.

$(VENV)/.made: tools/python-headers
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'error: pymem needs Python 3.11 or later, $(PYTHON) is older; try make PYTHON=python3.12' >&2; exit 1; }
	@echo 'Setting up $(VENV); the first time this takes a minute or two.'
	@$(PYTHON) -m venv $(VENV) || \
	    { echo 'error: no virtual environment; on Debian or Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@tools/python-headers $(VENV)
	$(PIP) install -q 'setuptools>=77' 'cython>=3.1'
	@touch $@

# What `pip install -e .[NAME]` installs, for each extra NAME; `base` is no extra at all.
$(VENV)/.installed-%: pyproject.toml $(VENV)/.made | $(VENV)/.built
	$(PIP) install -q --no-build-isolation -e '.$(if $(filter base,$*),,[$*])'
	@touch $@ $(VENV)/.installed-base

$(VENV)/.built: $(SOURCES) $(VENV)/.made
	@echo 'Compiling the engine.'
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

build: $(VENV)/.built

# ---- use --------------------------------------------------------------------------------------------------

run: $(VENV)/.built $(VENV)/.installed-base
	$(BIN)/pymem run $(SCENARIO) --out $(OUT)

test: $(VENV)/.built $(VENV)/.installed-test
	$(PYTEST)

test-slow: $(VENV)/.built $(VENV)/.installed-test
	$(PYTEST) -m slow

bench: $(VENV)/.built $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

docs: $(VENV)/.built $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo 'build/docs/index.html'

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	PATH="$(abspath $(BIN)):$$PATH" cython-lint memcore pymem
	$(BIN)/mypy

# ---- checked builds: the same sources in a folder of their own, never mixed with the release build --------

VARIANT_LIB = $(CURDIR)/build/$@/lib
BUILD_VARIANT = $(BIN)/python setup.py -q build --build-base build/$@ --build-lib $(VARIANT_LIB)
IN_VARIANT = PYMEM_BUILD_LIB=$(VARIANT_LIB) PYTHONPATH=$(VARIANT_LIB)
ENGINE_TESTS = -m 'engine and not slow'

debug: $(VENV)/.installed-test
	PYMEM_DEBUG=1 $(BUILD_VARIANT)
	$(IN_VARIANT) $(PYTEST) $(ENGINE_TESTS)

# Python's own allocator would hide errors from the sanitizer, and Python itself leaks at exit.  The C++
# library is preloaded so that exceptions inside other extensions meet the interceptors.
asan: $(VENV)/.installed-test
	PYMEM_DEBUG=1 PYMEM_ASAN=1 $(BUILD_VARIANT)
	$(IN_VARIANT) PYTHONMALLOC=malloc UBSAN_OPTIONS=print_stacktrace=1 \
	    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
	    LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so.6)" \
	    $(PYTEST) -p no:cacheprovider $(ENGINE_TESTS)

cover: $(VENV)/.installed-cover
	PYMEM_COVERAGE=1 $(BUILD_VARIANT)
	find build -name '*.gcda' -delete
	$(IN_VARIANT) $(BIN)/python -m coverage run --source $(VARIANT_LIB)/pymem -m pytest -W error -q
	$(BIN)/coverage html -d build/$@/python
	$(BIN)/coverage report
	@mkdir -p build/$@/engine
	$(BIN)/gcovr --root . --filter 'memcore/.*\.(pyx|pxd|h)' --gcov-ignore-errors all \
	    --include-internal-functions --exclude-branches-by-pattern '.*' \
	    --html-details build/$@/engine/index.html --print-summary build/$@
	@echo 'Line by line: build/$@/python/index.html and build/$@/engine/index.html'

# ---- tidying ----------------------------------------------------------------------------------------------

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find memcore pymem -name '*.so' -delete
	find . -path './.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +
	rm -f $(VENV)/.built $(VENV)/.installed-*

distclean: clean
	rm -rf $(VENV)
