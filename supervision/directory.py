"""Who is reachable, and under which incarnation: pure bookkeeping, the same in every actor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from supervision.messages import Incarnation, Known

GRAVES_MAX = 1000
"""So many ids without an address stay known, newest first, so that late mail of theirs is recognised as late."""


class Directory:
    """Newest incarnation and address of each id. An older incarnation never replaces a newer one."""

    def __init__(self, entries: Iterable[Known] = ()) -> None:
        self._known: dict[str, Known] = {entry.id: entry for entry in entries}
        self._graves: dict[str, None] = {}
        self._heard: dict[str, Incarnation] = {}
        """Incarnations that wrote to us before the directory knew them."""

    def __iter__(self) -> Iterator[Known]:
        return iter(self._known.values())

    def __len__(self) -> int:
        return len(self._known)

    def heard_by(self, hears: str, child_id: str) -> Directory:
        """What an actor with this `hears` may know; for "all" this very object (after the fork nobody shares it)."""
        if hears == "all":
            return self
        if hears == "static":
            return Directory(entry for entry in self if not entry.dynamic)
        return Directory(entry for entry in self if entry.id in ("main", "root", child_id))

    def get(self, child_id: str) -> Known | None:
        return self._known.get(child_id)

    def path(self, child_id: str) -> str | None:
        """Where the newest incarnation reads its mail; None when it is unknown, or its address is not known yet."""
        known = self._known.get(child_id)
        if known is None or self._heard.get(child_id, known.incarnation) > known.incarnation:
            return None
        return known.path

    def merge(self, entries: Iterable[Known], *, complete: bool = False) -> list[Known]:
        """Take over what is newer; return the entries whose incarnation is new to us.

        With `complete`, ids that are not mentioned are gone: they lose their address, their incarnation stays known.
        """
        fresh = []
        mentioned = set()
        for entry in entries:
            mentioned.add(entry.id)
            old = self._known.get(entry.id)
            if old is not None and old.incarnation > entry.incarnation:
                continue
            self._known[entry.id] = entry
            if entry.path is None:
                self._bury(entry.id)
            else:
                self._graves.pop(entry.id, None)
            if self._heard.get(entry.id, (0, 0)) <= entry.incarnation:
                self._heard.pop(entry.id, None)
            if old is None or old.incarnation < entry.incarnation:
                fresh.append(entry)
        if complete:
            for known in [
                known for known in self._known.values() if known.path is not None and known.id not in mentioned
            ]:
                self._known[known.id] = Known(known.id, known.incarnation, None, known.dynamic)
                self._bury(known.id)
        return fresh

    def is_current(self, sender_id: str, incarnation: Incarnation) -> bool:
        """False for mail from an incarnation older than the newest known; a newer one is learned from its mail."""
        known = self._known.get(sender_id)
        newest = max(known.incarnation if known else incarnation, self._heard.get(sender_id, incarnation))
        if incarnation < newest:
            return False
        if known is None or incarnation > known.incarnation:
            self._heard.pop(sender_id, None)
            self._heard[sender_id] = incarnation
            if len(self._heard) > GRAVES_MAX:
                del self._heard[next(iter(self._heard))]
        return True

    def _bury(self, child_id: str) -> None:
        if child_id in self._graves:
            return
        self._graves[child_id] = None
        if len(self._graves) > GRAVES_MAX:
            oldest = next(iter(self._graves))
            del self._graves[oldest], self._known[oldest]
