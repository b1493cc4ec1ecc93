"""How `ctl` and the live view ask the running bot: HTTP over the operator's Unix socket, nothing but the standard library.

The operator serves one path: `POST /ctl/<command>` with a JSON object of text arguments; it answers 200 with
`{"ok": true, "data": {...}}` or `{"ok": false, "error": "one sentence", "code": 1}` (code 2: the words
were wrong).
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOCKET_NAME = "run/operator.sock"
PAGE_FILE = "run/console.json"
"""Where the page is: {"url": ..., "port": ..., "note": why not the port that was asked for, else ""}."""


class NobodyThereError(Exception):
    """No bot answers on this data dir; the sentence names the dir and the way out."""


class RefusedError(Exception):
    """The bot said no; the sentence and the exit code (1, or 2 for wrong words) are the operator's."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


class OperatorClient:
    """Asks one data dir's operator. Safe to use from any thread: each ask is a connection of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def ask(self, command: str, args: Mapping[str, str] | None = None, timeout_s: float = 5.0) -> dict[str, Any]:
        """The `data` of the answer. Raises NobodyThereError or RefusedError."""
        connection = _UnixConnection(self.data_dir / SOCKET_NAME, timeout_s)
        try:
            connection.request(
                "POST", f"/ctl/{command}", json.dumps(dict(args or {})), {"Content-Type": "application/json"}
            )
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException) as error:
            reason = "did not answer in time" if isinstance(error, TimeoutError) else "does not answer"
            raise NobodyThereError(
                f"the operator of the bot of {self.data_dir} {reason}: ask again in a second (`run.py panic` needs neither)"
            ) from error
        except ValueError as error:
            raise NobodyThereError(f"what listens in {self.data_dir} is not Bulkhead's operator") from error
        finally:
            connection.close()
        if not isinstance(answer, dict) or not answer.get("ok"):
            said = answer if isinstance(answer, dict) else {}
            raise RefusedError(str(said.get("error", "refused without a reason")), int(said.get("code", 1)))
        data = answer.get("data")
        return data if isinstance(data, dict) else {}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("bulkhead", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # A Unix path holds 107 bytes; a deep data dir is reached through its directory's descriptor.
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)


def page_of(data_dir: Path) -> dict[str, Any] | None:
    """What PAGE_FILE says; None while this data dir's bot serves no page."""
    try:
        found = json.loads((data_dir / PAGE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "url" in found and "port" in found else None
