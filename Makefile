PYTHON ?= python3

.PHONY: help book serve pdf test lab workshop bench hub-test
help: ; @$(PYTHON) tools/run.py || true
book: ; @$(PYTHON) tools/run.py book
serve: ; @$(PYTHON) tools/run.py serve
pdf:  ; @$(PYTHON) tools/run.py pdf
test: ; @$(PYTHON) tools/run.py test
lab:  ; @$(PYTHON) tools/run.py lab
workshop: ; @$(PYTHON) tools/run.py workshop
bench: ; @$(PYTHON) tools/run.py bench
hub-test: ; @$(PYTHON) tools/run.py hub-test
