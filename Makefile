# One word for each thing one does here; run them inside a virtual environment. `make build` once, then the others.
PYTHON ?= python
# Tests whose threads share no file, no setting and no count: those of one module, stream or tape.
PARALLEL = $(addprefix tests/modules/test_,$(addsuffix .py,arguments embedding frozen layer_dropout layer_tapes \
	linear members sequential stream))

.PHONY: build test lint doctest docs bench cells accuracy coverage deep reliability asan tsan fuzz neon platforms arm64 \
	embedded tiles wheels parallel freethreaded clean

build:  ## compile and install in place, with all that developing needs
	$(PYTHON) -m pip install "setuptools>=77" "Cython>=3.1" "numpy>=2.0"
	$(PYTHON) -m pip install --no-build-isolation -e ".[dev]"

test:
	$(PYTHON) -m pytest tests

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

doctest:  ## the examples in docstrings
	$(PYTHON) -m pytest --doctest-modules --doctest-ignore-import-errors --pyargs rnnfast

docs:  ## the site, in docs/_build; needs `pip install ".[docs]"`. From docs/, where `import rnnfast` finds the installed one
	cd docs && $(PYTHON) -m sphinx -W --keep-going -q -b html . _build

bench:  ## rnnfast, the reference, a NumPy loop and installed peers, a group for each shape
	$(PYTHON) -m pytest bench --benchmark-only --benchmark-columns=median,iqr,rounds --benchmark-max-time=0.3

cells:  ## what layer norm, noise and the new cells cost, as Markdown
	$(PYTHON) bench/cells.py

accuracy:  ## what bfloat16 and int8 change in results, here and in installed peers, as Markdown
	$(PYTHON) bench/accuracy.py

coverage:  ## lines of Python, C and Cython that the tests reach, on a build for it; then the usual build again
	RNNFAST_COVERAGE=1 $(PYTHON) setup.py -q build_ext --inplace --force
	find build -name "*.gcda" -delete
	$(PYTHON) -m pytest tests --cov=rnnfast --cov-report=term-missing:skip-covered
	$(PYTHON) -m gcovr --root . --filter csrc/ --filter "rnnfast/_core/.*px[yi]" \
		--include-internal-functions --merge-mode-functions=separate \
		--gcov-ignore-errors=all build
	rm -rf build rnnfast/_core/loops.c
	$(PYTHON) setup.py -q build_ext --inplace --force

deep:  ## the tests with each instruction set of this machine in turn
	for isa in $$($(PYTHON) -c "from rnnfast import _core; print(*_core.available_isas())"); do \
		RNNFAST_ISA=$$isa $(PYTHON) -m pytest tests || exit 1; \
	done
	$(MAKE) reliability

long_tests := tests/reliability tests/kernels/test_threads.py tests/kernels/test_quota.py tests/modules/test_layer_results.py
reliability:  ## the long form of the tests behind docs/reliability.md, and the figure that each produces
	RNNFAST_LONG=1 $(PYTHON) -m pytest $(long_tests)

sanitized = RNNFAST_SANITIZE=$(1) $(PYTHON) setup.py -q build --build-lib build/$(2)/lib --build-temp build/$(2)/temp
comma := ,

asan:  ## AddressSanitizer and UndefinedBehaviorSanitizer (gcc): kernels, layers, the C API
	$(call sanitized,address$(comma)undefined,asan)
	$(MAKE) -C tests/sanitizers PYTHON="$(PYTHON)" bits callers-asan modules

tsan:  ## ThreadSanitizer (gcc): the pool, and plans of the C API from many threads
	$(call sanitized,thread,tsan)
	$(MAKE) -C tests/sanitizers PYTHON="$(PYTHON)" callers-tsan

CLANG = clang
fuzz:  ## mutated files for every reader, then libFuzzer (clang, libclang-rt) over the structs of the C API
	RNNFAST_LONG=1 $(PYTHON) -m pytest tests/reliability/test_mutated_files.py
	CC=$(CLANG) LDSHARED="$(CLANG) -shared" $(call sanitized,fuzzer-no-link$(comma)address$(comma)undefined,fuzz)
	$(MAKE) -C tests/sanitizers PYTHON="$(PYTHON)" CLANG=$(CLANG) options

neon:  ## the NEON kernels, cross-compiled and run under qemu-user
	$(MAKE) -j2 -C tests/bits check-neon

platforms:  ## the kernels on other platforms, by emulators; needs `pip install ziglang wasmtime`, qemu-user, wine64, mingw-w64
	$(PYTHON) tests/bits/platforms.py $(PLATFORMS)

arm64:  ## the tests on AArch64 under qemu-user; TESTS="tests/kernels -k int8" for some of them
	PYTHON=$(PYTHON) tests/arm64.sh $(TESTS)

embedded:  ## exported headers on a Cortex-M3 and M4 under qemu, and in WebAssembly. Debian: gcc-arm-none-eabi
	# libnewlib-arm-none-eabi qemu-system-arm; PyPI: ziglang wasmtime. What is absent is skipped, and named
	$(PYTHON) -m pytest -rs tests/c_export -k "cortex or webassembly"

wheels:  ## the source distribution and the wheels of Linux, in dist/; TARGETS="x86_64-gnu …" builds some of them
	.ci/wheels $(TARGETS)

parallel:  ## tests of modules, each in four threads at once; needs pip install pytest-run-parallel
	$(PYTHON) -m pytest --parallel-threads=4 $(PARALLEL)

freethreaded:  ## the tests on a free-threaded Python, PYTHON=python3.14t, in an environment of their own
	$(PYTHON) -c "import sysconfig, sys; sys.exit(not sysconfig.get_config_var('Py_GIL_DISABLED') and 'PYTHON is not free-threaded')"
	$(PYTHON) -m venv build/freethreaded
	build/freethreaded/bin/python -m pip install --quiet --prefer-binary ".[test]" pytest-run-parallel
	cd build && PYTHON_GIL=0 freethreaded/bin/python -m pytest -c ../pyproject.toml ../tests
	cd build && PYTHON_GIL=0 freethreaded/bin/python -m pytest -c ../pyproject.toml --parallel-threads=4 $(addprefix ../,$(PARALLEL))

tiles:  ## no inner loop of a tile uses the stack, as gcc and clang compile it for x86-64 and AArch64
	$(PYTHON) tests/disassembly.py gcc clang aarch64-linux-gnu-gcc "clang --target=aarch64-linux-gnu"

clean:
	$(MAKE) -C tests/bits clean
	$(MAKE) -C tests/sanitizers clean
	rm -rf build dist docs/_build *.egg-info rnnfast/_core/*.so rnnfast/_core/*.c
