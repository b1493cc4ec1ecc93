"""A live run, replayed from what its machines were told, decides identically; and no file makes us run anything."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from attrs import evolve

from actors.plan import RunPlan
from actors.told import Told, told
from cli.replay_commands import make_machine
from config.schema import load_config
from simulation.replay import ReplayError, open_recording, recordings, replay
from state.frames import LENGTH, TOLD, FrameWriter, read_frames
from trading.machine import Instant, Send, Wake
from trading.messages.control import KillSnapshot

pytestmark = pytest.mark.xdist_group("replay")  # one live run serves them all

ROOT = Path(__file__).parents[2]
LOADED = load_config("staging")
ME = (1, 7)


def run_py(*words: str, patience_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A live run of a few seconds on real processes: the opening scenario makes it trade."""
    folder = tmp_path_factory.mktemp("bot")
    slack = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    done = run_py(
        "run", "--record", "--json", "--for", f"{min(8 + 3 * slack, 25):.0f}", "--data-dir", str(folder),
        "--set", "symbol.entry.ttl_s=3.0", patience_s=120.0,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def test_a_live_run_is_replayed_identically_by_every_machine_that_thinks(recorded: Path) -> None:
    roles = set()
    for path in recordings(recorded):
        recording = open_recording(path)
        roles.add(recording.role)
        result = replay(recording, make_machine)
        assert result.difference is None, (result.role, result.difference)
        assert result.calls > 5, result.role
    assert {"oms", "exits", "risk", "universe", "health_monitor", "symbol:BTC-USD"} <= roles


def test_another_configuration_is_seen_as_a_difference_with_both_sides(recorded: Path, tmp_path: Path) -> None:
    """The same words to an oms of another account: its answers differ, and the command says where and exits 1."""

    def other(role: str, incarnation: tuple[int, int], plan: RunPlan) -> object:
        return make_machine(role, incarnation, evolve(plan, config_hash="beef", tag="zz"))

    (path,) = [path for path in recordings(recorded) if path.name.startswith("oms.")]
    result = replay(open_recording(path), other)
    assert result.difference is not None
    assert result.difference.before != result.difference.after


def test_the_command_replays_a_data_dir_and_writes_its_decisions(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "decisions.jsonl"
    done = run_py("replay", str(recorded), "--decisions", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "decides identically" in done.stdout
    assert out.read_text().count("\n") > 3
    same = run_py("compare", str(out), str(recorded))
    assert same.returncode == 0, same.stdout + same.stderr
    assert "0 only in" in same.stdout


class Parrot:
    """A machine whose answer is what the test wants."""

    role = "risk"
    tables = ()

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def products(self) -> tuple[str, ...]:
        return ()

    def recover(self, rows: object, now: Instant) -> list[Wake]:
        return [Wake("tick", now.boot_s + self.seconds)]

    def handle(self, message: object, now: Instant) -> tuple[Send, ...]:
        if self.seconds > 1e3:
            raise ZeroDivisionError("as live")
        return (Send("oms", message),)

    def on_quote(self, quote: object, now: Instant) -> tuple[()]:
        return ()

    on_bar = on_quote


def plan(folder: Path) -> RunPlan:
    return RunPlan(data_dir=folder, env="staging", mode="paper", config=LOADED.config, record_told=True)


def record(folder: Path, seconds: float = 0.5, calls: int = 3) -> Path:
    machine = told(Parrot(seconds), plan(folder), ME)  # type: ignore[arg-type]
    assert isinstance(machine, Told)
    now = Instant(1_760_000_000.0, True, 100.0)
    machine.recover({}, now)
    for n in range(calls):
        machine.handle(KillSnapshot(n=n, engaged=False, incarnation=ME), now)
    machine._frames.close()
    return folder / "told" / "risk.1.7.told"


def parrot(seconds: float):
    return lambda role, incarnation, plan: Parrot(seconds)


def test_the_first_difference_is_found_and_shown_with_both_sides(tmp_path: Path) -> None:
    path = record(tmp_path)
    assert replay(open_recording(path), parrot(0.5)).difference is None
    difference = replay(open_recording(path), parrot(0.75)).difference
    assert difference is not None
    assert (difference.number, difference.before, difference.after) == (
        1,
        ("wake tick 100.500000",),
        ("wake tick 100.750000",),
    )


def test_what_raised_live_raises_again(tmp_path: Path) -> None:
    now = Instant(1.0, True, 1.0)
    machine = told(Parrot(2e3), plan(tmp_path), ME)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        machine.handle("x", now)
    path = tmp_path / "told" / "risk.1.7.told"
    assert replay(open_recording(path), parrot(2e3)).difference is None
    assert replay(open_recording(path), parrot(0.5)).difference is not None


def test_without_record_the_machine_is_its_own(tmp_path: Path) -> None:
    machine = Parrot(0.5)
    assert told(machine, evolve(plan(tmp_path), record_told=False), ME) is machine  # type: ignore[arg-type]
    assert not (tmp_path / "told").exists()


def test_the_torn_end_of_a_killed_writer_is_left_out(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "a.told", TOLD, bytes_max=1 << 20)
    for text in (b"one", b"two"):
        writer.write(text)
        writer.flush()
    writer.close()
    whole = (tmp_path / "a.told").read_bytes()
    assert list(read_frames(tmp_path / "a.told", TOLD)) == [b"one", b"two"]
    (tmp_path / "a.told").write_bytes(whole[:-3])
    assert list(read_frames(tmp_path / "a.told", TOLD)) == [b"one"]


def test_a_recording_grows_no_further_than_its_bound(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "a.told", TOLD, bytes_max=4_000)
    for _ in range(50):
        writer.write(os.urandom(500))
        writer.flush()
    assert writer.full
    assert (tmp_path / "a.told").stat().st_size <= 4_000 + len(TOLD)
    assert 1 <= len(list(read_frames(tmp_path / "a.told", TOLD))) <= 8


def test_a_tampered_recording_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = record(tmp_path)
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 0x55
    path.write_bytes(bytes(bytes_))
    with pytest.raises(ReplayError, match="damaged"):
        replay(open_recording(path), parrot(0.5))
    path.write_bytes(b"PK" + bytes(bytes_))
    with pytest.raises(ReplayError, match="is no recording"):
        open_recording(path)


class Evil:
    def __init__(self, call: object, *args: object) -> None:
        self.what = (call, args)

    def __reduce__(self) -> object:
        return self.what


@pytest.mark.parametrize(
    "evil",
    [
        Evil(os.system, "touch pwned"),
        Evil(eval, "1"),
        Evil(subprocess.Popen, ["true"]),
        Evil(getattr, "x", "y"),
        Evil(load_config, "staging"),
        Evil(Path.unlink, Path("x")),
    ],
    ids=["os.system", "eval", "Popen", "getattr", "our function", "a method"],
)
def test_a_foreign_pickle_is_refused_and_nothing_is_run(tmp_path: Path, evil: Evil, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "risk.1.7.told"
    raw = pickle.dumps(("header", "risk", ME, evil))
    packed = zlib.compress(LENGTH.pack(len(raw)) + raw)
    path.write_bytes(TOLD + LENGTH.pack(len(packed)) + packed)
    with pytest.raises(ReplayError, match="refused"):
        open_recording(path)
    assert not (tmp_path / "pwned").exists()
    done = run_py("replay", str(path)) if evil.what[0] is os.system else None
    assert done is None or (done.returncode == 2 and "refused" in done.stderr)


def test_a_folder_without_recordings_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="run --record"):
        recordings(tmp_path)
