# The commands of docs/contributing.rst.
PYTHON ?= python

.PHONY: test doctest lint docs dist

test:
	$(PYTHON) -m pytest -n 2

doctest:
	$(PYTHON) -m pytest --doctest-modules certified_ensembles
	$(PYTHON) -m pytest --doctest-glob='*.rst' docs

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

docs:
	$(PYTHON) -m sphinx -W --keep-going -b html docs docs/_build/html

# Wheel and sdist, built and checked as the package index would.
dist:
	$(PYTHON) -m pip install --quiet build twine
	rm -rf dist
	$(PYTHON) -m build
	$(PYTHON) -m twine check --strict dist/*
