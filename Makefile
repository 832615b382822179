# PYTHON: the Python (3.10 to 3.12) to make .venv with; one is looked for when it is not given.
# EXTRAS: more of OpenMMLab and of training, e.g. EXTRAS=pose,quant (pose seg cls text formats deepspeed fairscale quant mim docs).
PYTHON ?=
EXTRAS ?=
PYTEST_ARGS ?= --exitfirst
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))

.DEFAULT_GOAL := help
.PHONY: help env env-extras demo test test-core test-extras lint docs clean-env

help:
	@echo 'make env [EXTRAS=pose,quant] [PYTHON=python3.11]   everything needed, into .venv (does nothing when it is there)'
	@echo 'make demo                                          adapt a detector to sample faces, on two processes'
	@echo 'make test [PYTEST_ARGS=...]                        all tests, in two runs; stops at the first that fails'
	@echo 'make test-core                                     the first run: what needs no extra'
	@echo 'make lint                                          code style, format and types'
	@echo 'make docs                                          the documentation, into build/docs'
	@echo 'make clean-env                                     remove .venv and .venv-extras (the compiled mmcv stays in the cache)'

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
	"$$python" tools/setup_env.py $(if $(BESIDE),--beside) '$(EXTRAS)'

# What MMPose, DeepSpeed and others bring stays out of .venv, beside which it is installed.
env-extras:
	@$(MAKE) --no-print-directory env BESIDE=1 EXTRAS=pose,seg,cls,text,formats,deepspeed,fairscale,quant,mim

demo: env
	@.venv/bin/python -W ignore:pkg_resources projects/face_demo/run.py

# Everything where none of the extras is installed; then, beside them, what was skipped there.
PYTEST := -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=15
define RUN
status=0; OMP_NUM_THREADS=1 $(1)/bin/python $(PYTEST) --outcomes=build/tests/$(2).json $(3) $(PYTEST_ARGS) || status=$$?; \
if [ $$status != 0 ] && [ $$status != $(4) ]; then \
  echo 'make test: FAILED (see the lines above); one test again: $(1)/bin/python -m pytest FILE::TEST' >&2; exit $$status; \
fi
endef

test:
	@$(MAKE) --no-print-directory test-core
	@$(MAKE) --no-print-directory test-extras

test-core: env
	@$(call RUN,.venv,core,,0)

# That nothing is left to run, pytest's status 5, is no failure here.
test-extras: env-extras
	@test -f build/tests/core.json || { echo 'make test-extras: first make test-core; this runs what that has skipped' >&2; exit 1; }
	@$(call RUN,.venv-extras,extras,--not-run-in=build/tests/core.json,5)
	@.venv/bin/python tests/helpers/outcomes.py build/tests/core.json build/tests/extras.json

lint: env
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --check --quiet --output-format concise . || { \
	  echo 'make lint: what is named above is not formatted; .venv/bin/ruff format . does it' >&2; exit 1; }
	@.venv/bin/mypy --no-error-summary
	@echo 'make lint: style, format and types are right'

docs:
	@$(MAKE) --no-print-directory env BESIDE=1 EXTRAS=docs
	@OMP_NUM_THREADS=1 .venv-extras/bin/python -W ignore -m sphinx -q -W --keep-going docs build/docs
	@echo 'make docs: build/docs/index.html'

clean-env:
	rm -rf .venv .venv-extras
