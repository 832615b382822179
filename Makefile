# PYTHON: the Python (3.10 to 3.12) to make .venv with; one is looked for when it is not given.
# EXTRAS: more of OpenMMLab and of training, e.g. EXTRAS=pose,quant (pose seg cls deepspeed fairscale quant docs).
PYTHON ?=
EXTRAS ?=
PYTEST_ARGS ?= --exitfirst
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))

.DEFAULT_GOAL := help
.PHONY: help env demo test lint docs clean-env

help:
	@echo 'make env [EXTRAS=pose,quant] [PYTHON=python3.11]   everything needed, into .venv (does nothing when it is there)'
	@echo 'make demo                                          adapt a detector to sample faces, on two processes'
	@echo 'make test [PYTEST_ARGS=...]                        all tests; stops at the first that fails'
	@echo 'make lint                                          code style'
	@echo 'make docs                                          the documentation, into build/docs'
	@echo 'make clean-env                                     remove .venv (the compiled mmcv stays in the cache)'

env:
	@python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
	  for name in python3 python3.11 python3.12 python3.10; do \
	    if "$$name" -c '$(SUPPORTED)' >/dev/null 2>&1; then python="$$name"; break; fi; \
	  done; \
	fi; \
	if [ -z "$$python" ]; then \
	  echo 'make env: no Python 3.10, 3.11 or 3.12 on the PATH; install one, or name it: make env PYTHON=/path/to/python3.11' >&2; \
	  exit 1; \
	fi; \
	"$$python" tools/setup_env.py '$(EXTRAS)'

demo: env
	@.venv/bin/python -W ignore:pkg_resources projects/face_demo/run.py

test: env
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=15 $(PYTEST_ARGS) || { \
	  status=$$?; \
	  echo 'make test: FAILED (see the lines above); one test again: .venv/bin/python -m pytest FILE::TEST' >&2; \
	  exit $$status; }

lint: env
	@.venv/bin/ruff check . && .venv/bin/ruff format --check --quiet .

docs:
	@$(MAKE) --no-print-directory env EXTRAS='docs,$(EXTRAS)'
	@OMP_NUM_THREADS=1 .venv/bin/python -W ignore -m sphinx -q -W --keep-going docs build/docs
	@echo 'make docs: build/docs/index.html'

clean-env:
	rm -rf .venv
