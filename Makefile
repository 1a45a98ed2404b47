# Everything runs in .venv; the first target that needs it makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Weights and clips for tests and benchmarks that want real ones; they skip without.
export MOVINET_SHARED ?= $(if $(wildcard ../shared),$(abspath ../shared))

.PHONY: setup wheels demo tutorial test lint bench limits engines embedded footprint soak clean

setup: $(VENV)/.installed

# Rooms are named without extras first: pip before 23.3 seeks what an extra needs on a registry.
PROJECTS := pyproject.toml $(wildcard */pyproject.toml) constraints.txt
$(VENV)/.installed: $(PROJECTS)
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), sys.exit("movinet-edge needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e runtime -e models -e benchmarks -e convert \
		-e 'runtime[video,watch,label,remote,dask]' -e 'models[pull]' -e 'benchmarks[plot]' -e '.[dev]'
	touch $@

# All packages as wheels in dist/; needs pip and what builds them, not the environment of setup.
wheels: $(BIN)/python
	rm -f dist/movinet_*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist \
		./models ./runtime ./benchmarks ./convert .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

demo: setup
	$(BIN)/python examples/demo.py

# Executes the notebook and keeps its outputs: look at the pictures before they are committed.
tutorial: setup
	$(BIN)/python examples/execute_tutorial.py

# Two files at a time; a file's tests share what it exports. In order of names: by their number of tests,
# long files with few would come last, when one core has nothing left to do.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m movinet_benchmarks.peers

# Half an hour on two idle cores; A0 to A5 and T0, here and on emulated boards.
limits: setup
	$(BIN)/python -m movinet_benchmarks.limits --page docs/limits.md

# pnnx makes ncnn's files; torch, which it names, is for its Python side alone.
engines: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e 'benchmarks[engines]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps pnnx
	$(BIN)/python -m movinet_benchmarks.engines

footprint: setup
	$(BIN)/python -m movinet_benchmarks.footprint

# Two hours of movinet watch beside one whose cameras, broker and process are killed; needs mosquitto.
soak: setup
	$(BIN)/python -m tests.soak --minutes 120

# Draws and trains (73 minutes on two idle cores; goes on where it was stopped), and judges (5).
embedded: setup
	$(BIN)/python models/train_embedded.py

clean:
	rm -rf $(VENV) out
