"""The house rules that a machine can hold. Each test reads the source tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "actors", "supervision", "trading", "exchange", "simulation", "telemetry", "config", "state")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders or PACKAGES for path in (ROOT / folder).rglob("*.py"))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def test_every_message_is_frozen_and_its_name_is_unique() -> None:
    seen: dict[str, list[str]] = defaultdict(list)
    for path in sources("trading"):
        if path.parent.name != "messages" or path.stem == "market":
            continue
        module = __import__(f"trading.messages.{path.stem}", fromlist=["*"])
        for made in (one for one in ast.parse(path.read_text()).body if isinstance(one, ast.ClassDef)):
            by = {ast.unparse(one).partition("(")[0] for one in made.decorator_list}
            if attrs.has(getattr(module, made.name)):
                assert by & {"light", "frozen"}, f"{path.stem}.{made.name} can be changed after it was sent"
        for name, kind in vars(module).items():
            if isinstance(kind, type) and kind.__module__ == module.__name__ and attrs.has(kind):
                seen[name].append(path.stem)
    twice = {name: places for name, places in seen.items() if len(places) > 1}
    assert not twice
    assert len(seen) > 40


def test_no_file_of_actors_is_longer_than_150_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in sources("actors")
        if (count := len(path.read_text().splitlines())) > 150
    }
    assert not long, f"a decision may have slipped in: {long}"


def test_nobody_asks_a_naive_clock() -> None:
    guilty = [
        path
        for path in sources()
        if re.search(r"\.utcnow\(|datetime\.now\(\)|fromtimestamp\([^,()]+\)", path.read_text())
    ]
    assert not guilty


@pytest.mark.parametrize("path", sources("trading"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_machines_import_only_attrs_and_the_standard_library_without_io(path: Path) -> None:
    forbidden = {
        "os",
        "io",
        "socket",
        "time",
        "random",
        "asyncio",
        "threading",
        "subprocess",
        "sqlite3",
        "pathlib",
        "secrets",
        "logging",
    }
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            top = name.split(".")[0]
            assert top not in forbidden, f"{path.name} imports {name}"
            assert top in {"attrs", "trading", "attr"} or top in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_imports_run_downwards_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_committed_file_names_this_machine_or_a_package_index() -> None:
    pattern = re.compile(rb"/root/|/work/|--index-url|--find-links|/simple/")
    guilty = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path != Path(__file__) and pattern.search(path.read_bytes())
    ]
    assert not guilty


def test_nothing_is_left_for_later() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b")
    guilty = [
        f"{path.relative_to(ROOT)}: {match[0]}" for path in sources() if (match := pattern.search(path.read_text()))
    ]
    assert not guilty


def test_the_locks_have_hashes_and_agree() -> None:
    pins = {}
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        blocks = re.findall(r"^([a-z0-9.\-\[\]_]+)==(\S+)((?:.|\n)*?)(?=^[a-z0-9]|\Z)", text, re.MULTILINE)
        assert blocks
        assert all("--hash=sha256:" in block for _, _, block in blocks)
        pins[name] = {package: version for package, version, _ in blocks}
    run, dev = pins["requirements.lock"], pins["requirements-dev.lock"]
    assert {package: dev.get(package) for package in run} == run
    assert not {"numpy", "pyarrow", "plotly", "pandas"} & set(run)


def test_every_test_is_a_claim_and_none_sleeps() -> None:
    guilty = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.name == "support.py" or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\btime\.sleep\(", line) and "not a wait" not in line:
                guilty.append(f"{path.relative_to(ROOT)}:{number}")
    assert not guilty, f"wait for a condition with a deadline (tests/support.py): {guilty}"
