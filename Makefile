PYTHON ?= python3

.PHONY: help book serve pdf test lab bench hub-test
help: ; @$(PYTHON) tools/run.py || true
book: ; @$(PYTHON) tools/run.py book
serve: ; @$(PYTHON) tools/run.py serve
pdf:  ; @$(PYTHON) tools/run.py pdf
test: ; @$(PYTHON) tools/run.py test
lab:  ; @$(PYTHON) tools/run.py lab
bench: ; @$(PYTHON) tools/run.py bench
hub-test: ; @$(PYTHON) tools/run.py hub-test
