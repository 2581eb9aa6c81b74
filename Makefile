# Everything a newcomer needs: `make train` and `make test` do their own set-up.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python

.PHONY: setup train test test-slow lint results clean

setup: $(VENV)/.installed

# torch goes first and by its exact version: a range would bring the build with several gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,box2d,minatar,atari,digits,driving,onnx,tree,video,wandb,mlflow]'
	@touch $@

train: setup  ## the main job: CartPole, a teacher and four students
	$(RUN) launch.py train

test: setup lint  ## the everyday suite
	$(RUN) -m pytest -n 2 --dist loadgroup

test-slow: setup  ## what takes longer: whole trainings, faults over many seeds
	$(RUN) -m pytest -m slow

lint: setup  ## style and floors
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

results: setup  ## RESULTS.md and the pictures, from all runs under runs/ and what bench wrote into runs/bench/; NOTE="..." tells how they were made
	$(RUN) -m distributed_kd.reports.results runs --out RESULTS.md --picture RESULTS.svg --curves RESULTS_curves.svg --bench $(wildcard runs/bench/*.json) --note "$(NOTE)"

clean:  ## forget the environment; runs/ stays
	rm -rf $(VENV)
