PYTHON ?= python3

.PHONY: help book pdf test lab
help: ; @$(PYTHON) tools/run.py || true
book: ; @$(PYTHON) tools/run.py book
pdf:  ; @$(PYTHON) tools/run.py pdf
test: ; @$(PYTHON) tools/run.py test
lab:  ; @$(PYTHON) tools/run.py lab
