"""Channels fail and hang one by one: the others hear once, and whoever tells them goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from actors.guardian import Guardian
from actors.plan import RunPlan
from config.schema import Config
from exchange.coinbase import fences
from exchange.coinbase.transport import boot_s
from telemetry import notify
from telemetry.notify import Notifier, notify_now
from tests.support import eventually


@pytest.fixture
def channel():
    """channel(status) -> (apprise address, titles heard)."""
    servers = []

    def make(status: int = 200, delay_s: float = 0.0):
        heard: list[str] = []

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                threading.Event().wait(delay_s)
                heard.append(body["title"])
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"json://127.0.0.1:{server.server_port}/hook", heard

    yield make
    for server in servers:
        server.shutdown()


@pytest.fixture
def hanging():
    """The address of a channel that takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"json://127.0.0.1:{server.getsockname()[1]}/hook"


@pytest.fixture
def dripping():
    """The address of a channel that answers one byte at a time and never ends: no timeout of a single read meets it."""
    over = threading.Event()

    def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(0.1):
                sock.sendall(b"x")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"json://127.0.0.1:{server.getsockname()[1]}/hook"
        over.set()
        server.shutdown(socket.SHUT_RDWR)


def test_a_channel_that_never_finishes_its_answer_holds_up_no_later_alert(monkeypatch, channel, dripping):
    good, heard = channel()
    monkeypatch.setattr(notify, "TRY_S_MAX", 0.3)
    notifier = Notifier([dripping, good])
    notifier.start()
    for title in ("first", "second"):
        notifier.send("critical", title, "text")
    eventually(lambda: heard, lambda titles: titles == ["first", "second"], 15.0)
    eventually(lambda: notifier.lost, lambda lost: lost == 2, 15.0)
    notifier.stop(0.1)


def test_a_program_ends_although_a_channel_does_not(dripping):
    program = (
        "import threading, time; from telemetry.notify import notify_now\n"
        f"telling = threading.Thread(target=notify_now, args=([{dripping!r}], 'critical', 'a', 'b'), daemon=True)\n"
        "telling.start(); telling.join(1.0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=10.0, cwd=Path(__file__).parents[2])


def test_a_channel_that_refuses_does_not_make_the_others_ring_three_times(channel):
    (good, heard), (bad, refused) = channel(), channel(500)
    assert not notify_now([bad, good], "critical", "stop", "no entries")
    assert heard == ["stop"]
    assert refused == ["stop"] * 3


def test_the_last_alert_of_a_role_that_ends_still_leaves(channel):
    slow, heard = channel(delay_s=0.5)
    notifier = Notifier([slow])
    notifier.start()
    notifier.send("critical", "last words", "orders may be live")
    eventually(notifier.queue.empty)
    notifier.stop(3.0)
    assert heard == ["last words"]


def test_the_guardian_tells_every_channel_and_waits_for_none(tmp_path, monkeypatch, channel, hanging):
    good, heard = channel()
    monkeypatch.setenv("BULKHEAD_ALERT_URLS", f"{hanging} {good}")
    (tmp_path / "run").mkdir()
    config = Config()
    guardian = Guardian(RunPlan(data_dir=tmp_path, env="staging", mode="paper", config=config), 1, stays=True)
    fences.write_beat(tmp_path / "run", fences.Beat(1, "ready", boot_s()))
    fences.write_durably(tmp_path / "run" / "handed_over", 1)
    slowest_s, until = 0.0, boot_s() + 6.0
    while not heard and boot_s() < until:
        began = boot_s()
        guardian.step()
        slowest_s = max(slowest_s, boot_s() - began)
    assert heard == ["The guardian has fired"]
    assert slowest_s < 0.5
