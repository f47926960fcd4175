# A thin layer: everything is in tools/make.py, which runs without make too.
PYTHON ?= python3

.PHONY: help env book test pdf serve clean notebooks experiments
help: ; @$(PYTHON) tools/make.py --help
env book test pdf serve clean notebooks experiments: ; @$(PYTHON) tools/make.py $@
