"""A real receiver of alerts, for tests."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """A channel on loopback: hears JSON over HTTP as a webhook does, and answers with a status."""

    def __init__(self, answers: int = 200) -> None:
        self.heard: list[dict[str, str]] = []
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self):
                receiver.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(answers)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.url = f"json://127.0.0.1:{self.server.server_port}/hook"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
