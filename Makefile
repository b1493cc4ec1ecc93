# Shortcuts for developers. A user needs none of them: `python3 run.py run` and `python3 run.py test` do everything.
PY := .venv/bin/python
LOCK := $(PY) -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q --exclude-newer 2026-10-01

.venv:
	python3 run.py test --collect-only -q

lock:           ## remake both locks (needs uv in the environment; the date keeps releases younger than a few weeks out)
	$(LOCK) -o requirements.lock
	$(LOCK) --group dev -c requirements.lock -o requirements-dev.lock

.PHONY: lock check types bench prove chaos soak gate

check: .venv    ## lint, format, types, imports, tests
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c "from importlinter.cli import lint_imports_command as c; c()"
	python3 run.py test

bench: .venv    ## every measurement; each prints what its README keeps
	$(PY) -m bench.supervision.bench
	$(PY) -m bench.simulator.bench_venue
	$(PY) -m bench.feeds.frame_to_quote
	$(PY) -m bench.gateway.order_to_wire
	$(PY) -m bench.oms.bench

prove: .venv    ## the full counts of property, fuzz and crash tests (hours); append the numbers to bench/README.md
	$(PY) -m pytest -m slow --timeout=7200 -q
	python3 run.py fuzz --mode E --full
	python3 run.py fuzz --mode R --seeds 1000000
	python3 run.py fuzz --mode L --seeds 1000
	python3 run.py chaos --storm 500

chaos: .venv    ## ten minutes of kills on real processes
	python3 run.py chaos --for 600

soak: .venv     ## a day of the bot on the synthetic market at twenty times speed; ctl tree shows the memory of each role
	python3 run.py run --plain --speed 20 --for 4320 --fresh --data-dir data/soak
