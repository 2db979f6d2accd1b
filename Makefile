# make demo: environment, data, comparison, report.   make test: environment, checks, tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types docs clean

# torch first, and pinned: a later requirement that torch already satisfies then brings no other build of it
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]" ruff mypy
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/nwidth generate problem=darcy n=300 resolution=32 seed=0 out=demo/darcy.h5
	$(BIN)/nwidth generate problem=burgers n=300 resolution=64 seed=0 out=demo/burgers.h5
	$(BIN)/nwidth compare data.path=demo/darcy.h5 surrogates=[mean,linear,kernel,pod_gp,reduced_basis,fno] \
	  training.epochs=15 "title=Darcy flow" hydra.run.dir=demo/darcy
	$(BIN)/nwidth compare data.path=demo/burgers.h5 surrogates=[mean,linear,kernel,pod_gp,reduced_basis,fno] \
	  training.epochs=40 "title=Burgers equation" hydra.run.dir=demo/burgers
	@echo
	@echo "Reports: $(CURDIR)/demo/darcy/report.html"
	@echo "         $(CURDIR)/demo/burgers/report.html"

test: lint types $(STAMP)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# the root is the package: mypy sees it through a tree of links that leaves out tests and the environment
PACKAGE := __init__.py build.py cli.py errors.py py.typed backends commands conf data gp operators solvers training
types: $(STAMP)
	rm -rf $(VENV)/typed && mkdir -p $(VENV)/typed/nwidth
	for f in $(PACKAGE); do ln -s $(CURDIR)/$$f $(VENV)/typed/nwidth/$$f; done
	cd $(VENV)/typed && MYPYPATH=. ../bin/mypy --config-file $(CURDIR)/pyproject.toml -p nwidth

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) demo site
