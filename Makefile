PYTHON ?= python3

.PHONY: help book test lab
help: ; @$(PYTHON) tools/run.py || true
book: ; @$(PYTHON) tools/run.py book
test: ; @$(PYTHON) tools/run.py test
lab:  ; @$(PYTHON) tools/run.py lab
