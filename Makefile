# One word for each thing one does here; run them inside a virtual environment. `make build` once, then the others.
PYTHON ?= python

.PHONY: build test lint doctest docs bench cells accuracy coverage deep neon tiles clean

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

neon:  ## the NEON kernels, cross-compiled and run under qemu-user
	$(MAKE) -j2 -C tests/neon check-neon

tiles:  ## no inner loop of a tile uses the stack, as gcc and clang compile it for x86-64 and AArch64
	$(PYTHON) tests/disassembly.py gcc clang aarch64-linux-gnu-gcc "clang --target=aarch64-linux-gnu"

clean:
	$(MAKE) -C tests/neon clean
	rm -rf build dist docs/_build *.egg-info rnnfast/_core/*.so rnnfast/_core/*.c
