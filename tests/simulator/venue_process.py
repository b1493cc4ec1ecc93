"""A simulated venue as a process of its own, and clients that have never heard of a simulator."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from coinbase.rest import RESTClient

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("BULKHEAD_SHARED_DATA", ROOT.parent / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"recorded Coinbase data is not at {SHARED}")


class VenueProcess:
    """`python -m exchange.simulator` on a data dir; `line` is its contract line."""

    def __init__(self, folder: Path, *arguments: str, scenario: str = "quiet") -> None:
        self.folder = folder
        command = [sys.executable, "-m", "exchange.simulator", "--json", "--data-dir", str(folder)]
        if "--market" not in arguments:
            command += ["--scenario", scenario]
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            _, errors = self.process.communicate(timeout=10)
            raise AssertionError(f"the venue did not start: {errors}")
        self.line: dict[str, Any] = json.loads(text)

    def client(self, number: int = 0, **options: Any) -> RESTClient:
        key = self.line["keys"][number]
        client = RESTClient(
            api_key=key["name"], api_secret=key["secret"], base_url=self.line["rest"], timeout=10, **options
        )
        client.session.trust_env = False
        client.session.verify = self.line["ca"]
        return client

    def door(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The back door: `door("GET", "state")`."""
        host = self.line["back_door"].split("/")[2]
        connection = http.client.HTTPSConnection(
            host, timeout=10, context=ssl.create_default_context(cafile=self.line["ca"])
        )
        try:
            connection.request(method, f"/_sim/{path}", None if body is None else json.dumps(body))
            answer = connection.getresponse()
            found = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise AssertionError(f"{method} {path}: {answer.status} {found}")
        return found

    def faults(self, *faults: dict[str, Any], seed: int = 1) -> None:
        self.door("POST", "faults", {"seed": seed, "faults": list(faults)})

    def unlimited(self) -> None:
        """Rate limits out of the way of tests that are about something else."""
        names = ("public_per_s", "private_per_s", "connections_per_s")
        self.faults(*({"kind": "setting", "name": name, "value": 10_000} for name in names))

    def state(self) -> dict[str, Any]:
        return self.door("GET", "state")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def __enter__(self) -> VenueProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
