# Shortcuts for developers. A user needs none of them: `python3 run.py run` and `python3 run.py test` do everything.
PY := .venv/bin/python
LOCK := $(PY) -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q --exclude-newer 2026-10-01

.venv:
	python3 run.py test --collect-only -q

lock:           ## remake both locks (needs uv in the environment; the date keeps releases younger than a few weeks out)
	$(LOCK) -o requirements.lock
	$(LOCK) --group dev -c requirements.lock -o requirements-dev.lock
