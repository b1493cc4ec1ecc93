"""The newest quote of each product in shared memory, and the bell that says "look again".

A *slot* is one small file, `<run>/slots/<PRODUCT>.slot`, mapped by its one writer (the market feed) and by any number of
readers, read-only. It holds one `Quote` in a fixed binary layout under a sequence lock:

    the writer makes the sequence odd, writes the body and its checksum, makes the sequence even
    a reader takes sequence, body, sequence; odd, changed or a checksum that does not fit means: torn, look again

The checksum makes a torn read impossible to believe also where the processor reorders stores. A writer that was killed
midway leaves the sequence odd for ever, and every reader then gets None: no quote, hence no decision. A new writer
empties the slot before anything else, and a slot written before the machine's last boot counts as empty, because its
boot-clock times mean nothing any more. A writer that is merely gone leaves a quote that ages: `Quote.alive_boot_s`.

Who wants to be told at once listens to a bell (`exchange.bells`).
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import time
import zlib
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from exchange.bells import ANY_PRODUCT, Bell, BellRinger
from trading.machine import NO_INCARNATION, Incarnation
from trading.messages.market import Quote

__all__ = ["ANY_PRODUCT", "Bell", "BellRinger", "SlotReader", "SlotWriter", "boot_s", "decode", "encode"]

SLOT_BYTES = 4096

_MAGIC = b"BHSLOT1\0"
_HEAD = struct.Struct("=8sQII16s")  # magic, sequence, checksum, length (0: empty), boot id
_SEQUENCE_AT, _CHECK_AT, _BODY_AT = 8, 16, _HEAD.size
_CHECK = struct.Struct("=II")
_BODY = struct.Struct("=32s32s32s32s32s32sdddqdddqq")
_NAME = re.compile(r"[A-Z0-9]{1,12}-[A-Z0-9]{1,12}")
_NAN = float("nan")
_TRIES = 50


def boot_s() -> float:
    """CLOCK_BOOTTIME in seconds: real time that also counts suspended hours; the clock of every age and deadline."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot_id() -> bytes:
    """16 bytes that change with each boot of the machine; zeros where the kernel does not tell."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


def _slot_path(folder: Path, product_id: str) -> Path:
    if not _NAME.fullmatch(product_id):
        raise ValueError(f"{product_id!r} cannot name a slot in {folder}: a product looks like BTC-USD")
    return folder / f"{product_id}.slot"


def encode(quote: Quote) -> bytes:
    """The fixed layout: texts of the Decimals, then doubles (NaN for None). ValueError when a number's text exceeds 32 bytes."""
    texts = (
        str(quote.bid).encode(),
        str(quote.ask).encode(),
        str(quote.bid_size).encode(),
        str(quote.ask_size).encode(),
        b"" if quote.last is None else str(quote.last).encode(),
    )
    if max(map(len, texts)) > 32:
        raise ValueError(
            f"a number of the {quote.product_id} quote is longer than 32 digits; it is not published: {quote}"
        )
    run, counter = quote.feed
    return _BODY.pack(
        quote.product_id.encode(),
        *texts,
        quote.exchange_s,
        quote.received_boot_s,
        quote.alive_boot_s,
        quote.sequence,
        _NAN if quote.depth_bid_usd is None else quote.depth_bid_usd,
        _NAN if quote.depth_ask_usd is None else quote.depth_ask_usd,
        _NAN if quote.volume_24h_base is None else quote.volume_24h_base,
        run,
        counter,
    )


def decode(body: bytes) -> Quote:
    """The Quote of `encode`; the caller has checked the checksum."""
    (
        product,
        bid,
        ask,
        bid_size,
        ask_size,
        last,
        exchange,
        received,
        alive,
        sequence,
        depth_bid,
        depth_ask,
        volume,
        run,
        counter,
    ) = _BODY.unpack(body)
    last_text = last.rstrip(b"\0").decode()
    return Quote(
        product.rstrip(b"\0").decode(),
        Decimal(bid.rstrip(b"\0").decode()),
        Decimal(ask.rstrip(b"\0").decode()),
        Decimal(bid_size.rstrip(b"\0").decode()),
        Decimal(ask_size.rstrip(b"\0").decode()),
        exchange,
        received,
        alive,
        sequence,
        None if depth_bid != depth_bid else depth_bid,  # noqa: PLR0124 -- NaN is the only number unequal to itself
        None if depth_ask != depth_ask else depth_ask,  # noqa: PLR0124
        (run, counter),
        Decimal(last_text) if last_text else None,
        None if volume != volume else volume,  # noqa: PLR0124
    )


class _WrittenSlot:
    """The writer's side of one slot."""

    def __init__(self, path: Path, boot_id: bytes) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, SLOT_BYTES)
            self._map = mmap.mmap(descriptor, SLOT_BYTES)
        finally:
            os.close(descriptor)
        self._view = memoryview(self._map)
        self._sequence_cell = self._view[_SEQUENCE_AT : _SEQUENCE_AT + 8].cast("Q")  # one aligned 8-byte store
        magic, sequence, *_ = _HEAD.unpack_from(self._map)
        self._sequence = (sequence + 1 if sequence % 2 else sequence) if magic == _MAGIC else 0
        self.newest: Quote | None = None
        self._sequence_cell[0] = self._sequence + 1
        self._map[:_SEQUENCE_AT] = _MAGIC
        self._map[_BODY_AT - 16 : _BODY_AT] = boot_id
        self._write(b"")

    def put(self, quote: Quote) -> None:
        body = encode(quote)
        self.newest = quote
        self._write(body)

    def clear(self) -> None:
        self.newest = None
        self._write(b"")

    def _write(self, body: bytes) -> None:
        sequence = self._sequence
        self._sequence_cell[0] = sequence + 1
        self._map[_BODY_AT : _BODY_AT + len(body)] = body
        _CHECK.pack_into(self._map, _CHECK_AT, zlib.crc32(body), len(body))
        self._sequence = sequence + 2
        self._sequence_cell[0] = sequence + 2

    def close(self) -> None:
        self._sequence_cell.release()
        self._view.release()
        self._map.close()


class SlotWriter:
    """The market feed's side: `put` each newest quote, `alive` each heartbeat, `lost` at a gap or a disconnect.

    Opening empties the slots of this folder, so that no reader takes a dead predecessor's quote for a fresh one.
    """

    def __init__(self, folder: Path, feed: Incarnation = NO_INCARNATION) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._feed = folder, feed
        self._boot_id = _boot_id()
        self._slots: dict[str, _WrittenSlot] = {}
        self._sequence = 0
        self.puts = 0
        for path in folder.glob("*.slot"):
            if _NAME.fullmatch(path.stem):
                self._slots[path.stem] = _WrittenSlot(path, self._boot_id)

    def put(self, quote: Quote) -> None:
        """Publish. `feed` and `sequence` are stamped here: strictly increasing over all products of this incarnation."""
        slot = self._slots.get(quote.product_id)
        if slot is None:
            slot = self._slots[quote.product_id] = _WrittenSlot(
                _slot_path(self._folder, quote.product_id), self._boot_id
            )
        self._sequence += 1
        quote.sequence, quote.feed = self._sequence, self._feed
        slot.put(quote)
        self.puts += 1

    def alive(self, alive_boot_s: float) -> list[str]:
        """The connection was proved alive at `alive_boot_s`: every quote that is still believed is renewed. Returns their products."""
        renewed = []
        for product_id, slot in self._slots.items():
            quote = slot.newest
            if quote is not None and quote.alive_boot_s > 0.0:
                quote.alive_boot_s = alive_boot_s
                self.put(quote)
                renewed.append(product_id)
        return renewed

    def lost(self, product_id: str = "") -> list[str]:
        """A gap, a disconnect, or the lost book of one product: prices stay readable (marks), but no quote counts as alive.
        Returns the products told.
        """
        told = []
        for name in [product_id] if product_id else list(self._slots):
            quote = self.newest(name)
            if quote is not None and quote.alive_boot_s != 0.0:
                quote.alive_boot_s = 0.0
                self.put(quote)
                told.append(name)
        return told

    def clear(self, product_id: str) -> None:
        """No quote of this product any more (it left the universe)."""
        slot = self._slots.get(product_id)
        if slot is not None:
            slot.clear()

    def newest(self, product_id: str) -> Quote | None:
        slot = self._slots.get(product_id)
        return None if slot is None else slot.newest

    def close(self) -> None:
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()


class _ReadSlot:
    """A reader's side of one slot."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size < SLOT_BYTES:
                raise FileNotFoundError(path)  # the writer is just making it
            self._map = mmap.mmap(descriptor, SLOT_BYTES, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._view = memoryview(self._map)
        self._sequence_cell = self._view[_SEQUENCE_AT : _SEQUENCE_AT + 8].cast("Q")
        self.seen = -1

    @property
    def sequence(self) -> int:
        return self._sequence_cell[0]

    def get(self, boot_id: bytes) -> tuple[int, Quote | None]:
        for _ in range(_TRIES):
            before = self._sequence_cell[0]
            if before % 2:
                continue
            magic, _, check, length, boot = _HEAD.unpack_from(self._map)
            body = self._map[_BODY_AT : _BODY_AT + _BODY.size]
            if self._sequence_cell[0] != before:
                continue
            if magic != _MAGIC or boot != boot_id or length != _BODY.size:
                return before, None
            if zlib.crc32(body) == check:
                return before, decode(body)
        return -1, None

    def close(self) -> None:
        self._sequence_cell.release()
        self._view.release()
        self._map.close()


class SlotReader:
    """Any role's side. Never raises for what the writer does or fails to do: no believable quote is None."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boot_id = _boot_id()
        self._slots: dict[str, _ReadSlot] = {}

    def get(self, product_id: str) -> Quote | None:
        """The newest quote; None when there is none, it is torn for good, or it is older than the machine's boot."""
        slot = self._slot(product_id)
        return None if slot is None else slot.get(self._boot_id)[1]

    def changed(self, product_ids: Iterable[str]) -> list[Quote]:
        """The newest quotes of those products whose slot changed since this reader last looked, in the order given."""
        quotes = []
        for product_id in product_ids:
            slot = self._slots.get(product_id) or self._slot(product_id)
            if slot is None or slot.sequence == slot.seen:
                continue
            sequence, quote = slot.get(self._boot_id)
            if sequence >= 0:
                slot.seen = sequence
            if quote is not None:
                quotes.append(quote)
        return quotes

    def _slot(self, product_id: str) -> _ReadSlot | None:
        slot = self._slots.get(product_id)
        if slot is None:
            try:
                slot = self._slots[product_id] = _ReadSlot(_slot_path(self._folder, product_id))
            except (OSError, ValueError):
                return None  # not written yet, or no product at all
        return slot

    def close(self) -> None:
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()
