# make demo    the shipped model on the shipped clip, in a venv without PyTorch
# make test    every test, in a venv with everything
# make check   formatting, lint and types
# make tiny    export the shipped bundle again from the shipped checkpoint

PYTHON ?= python3
# Versions that are known to work together; `make CONSTRAINTS= ...` takes the newest instead.
CONSTRAINTS ?= constraints.txt
# Test processes, each of one thread; by the file, so that fixtures are made once.
PROCESSES ?= 2
DEMO := .venv-demo
DEV := .venv
NATIVE := setup.py pyproject.toml $(shell find csrc -name '*.cpp' -o -name '*.h')
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

.PHONY: demo test check format tiny clean

demo: $(DEMO)/installed
	$(DEMO)/bin/python -m runtime test://cars out/demo.mp4 out/demo.png --classes "car, road|ground|asphalt" --overwrite

test: $(DEV)/installed
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

check: $(DEV)/installed
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	$(DEV)/bin/mypy
	find csrc examples -name '*.cpp' -o -name '*.h' | xargs $(DEV)/bin/clang-format --dry-run --Werror

format: $(DEV)/installed
	$(DEV)/bin/ruff check --fix
	$(DEV)/bin/ruff format
	find csrc examples -name '*.cpp' -o -name '*.h' | xargs $(DEV)/bin/clang-format -i

tiny: $(DEV)/installed
	$(DEV)/bin/python -m export --model tiny --fp16-weights --output runtime/models/tiny.tclb --overwrite

clean:
	rm -rf $(DEMO) $(DEV) build dist out *.egg-info runtime/_native*.so

$(DEMO)/installed: $(NATIVE)
	@echo "installing the runtime into $(DEMO) (half a minute)"
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python $(PIP_INSTALL) --editable .
	@touch $@

$(DEV)/installed: $(NATIVE) constraints.txt
	@echo "installing everything into $(DEV) (PyTorch included: some minutes, 7 GB)"
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(PIP_INSTALL) --editable ".[dev]"
	@touch $@
