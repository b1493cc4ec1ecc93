"""Channels fail and hang one by one: the others hear once, and whoever tells them goes on."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from actors.guardian import Guardian
from actors.plan import RunPlan
from config.schema import Config
from exchange.coinbase import fences
from exchange.coinbase.transport import boot_s
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
