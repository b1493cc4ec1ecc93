"""Mail for a role whose address is not known yet: it has spoken from its start, before root announced it (at most 0.1 s later).

Held for a moment and sent when the directory names the role; else an answer to a role's very first question would be
lost, and the question repeated only after its long patience. Everything in it may come late or not at all.
"""

from __future__ import annotations

from collections import Counter, deque

HELD_S_MAX = 2.0
HELD_MAX = 64


class Held:
    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[float, object]]] = {}
        self.lost: Counter[str] = Counter()

    def put(self, role: str, message: object, now_boot_s: float) -> None:
        waiting = self._waiting.setdefault(role, deque())
        waiting.append((now_boot_s, message))
        while len(waiting) > HELD_MAX:
            waiting.popleft()
            self.lost[role] += 1

    def take(self, role: str, now_boot_s: float) -> list[object]:
        """What is young enough, oldest first."""
        waiting = self._waiting.pop(role, deque())
        young = [message for at, message in waiting if now_boot_s - at <= HELD_S_MAX]
        self.lost[role] += len(waiting) - len(young)
        return young
