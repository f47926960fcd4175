# A thin layer: everything is in tools/make.py, which runs without make too.
PYTHON ?= python3
COMMANDS = env book test test-deep pdf student slides published lab serve clean notebooks experiments style

.PHONY: help $(COMMANDS)
help: ; @$(PYTHON) tools/make.py --help
$(COMMANDS): ; @$(PYTHON) tools/make.py $@
