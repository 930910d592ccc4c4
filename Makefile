# make demo      from a request to delivered physics, on this machine      (CHAOS=1: while it is killed; EVENTS=2000: shorter)
# make demo-slurm   the same on a throw-away Slurm cluster that is reached over SSH
# make test      every test, with what it needs installed first
# make check     style, types, layers
# make bench     figures as ratios, printed and written to bench/results
# make soak      long kill campaigns (KILLS=1000)
# make features  the acceptance rows and the tests that prove them

PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
EVENTS ?= 20000
KILLS  ?= 1000
DEMO   := $(if $(CHAOS),--chaos) $(if $(SEED),--seed $(SEED))

.PHONY: help setup system demo demo-slurm check test bench soak features screenshots lock clean
help:
	@sed -n 's/^# //p' Makefile

setup: $(VENV)/.installed
$(VENV)/.installed: requirements.lock .ci/setup
	PYTHON="$(PYTHON)" VENV="$(VENV)" sh .ci/setup
	@touch $@

system:
	@sh .ci/system

demo: setup
	$(PY) run_agent.py demo --events $(EVENTS) $(DEMO)

demo-slurm: setup system
	$(PY) -m tests.real.demo_slurm --events $(EVENTS) $(DEMO)

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

test: setup system
	$(PY) -m pytest -n 2 --dist worksteal

bench: setup
	$(PY) -m bench

soak: setup system
	$(PY) -m tests.acceptance.campaign --kills $(KILLS) --all-harm
	$(PY) -m tests.acceptance.campaign --kills $(KILLS) --all-harm --mariadb
	$(PY) run_agent.py simulate examples/scenarios/rough.toml --seeds $(KILLS)
	$(PY) run_agent.py simulate examples/scenarios/rough.toml --each 1
	$(PY) run_agent.py simulate examples/scenarios/year.toml
	$(PY) -m tests.acceptance.treacherous --faults 10000
	$(PY) -m tests.acceptance.slurm_campaign --faults 200

features: setup
	@$(PY) -m pytest --features -q

screenshots: setup system
	$(PY) -m tests.acceptance.screenshots docs/images

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --all-extras --group dev --upgrade pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) demo-run dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
