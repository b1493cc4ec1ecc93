"""One watched position, and what exits tell people about it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from attrs import define

from trading.caps import held_size
from trading.exit_prices import ExitPrices
from trading.exit_rules import STICKY
from trading.exits_settings import ExitsSettings
from trading.machine import Effect, Incarnation, Instant, Note, Send
from trading.messages.book import BookPosition
from trading.messages.control import Condition
from trading.messages.decisions import ArmedExit, ExitsSnapshot, Values
from trading.publish import PEOPLE, PEOPLE_S, ConditionBoard
from trading.values import ZERO


@define
class Watch:
    """One position. stop: the tightest known. reason: why it is being left, "" while armed. wanted: how much of it.

    sent_n: number of the exit that was last commanded and is not in the book yet. tries: exits that ended without
    making it flat; failures: how many of the last in a row were not sent or rejected.
    """

    position: BookPosition
    stop: Decimal
    peak: Decimal
    stop_f: float = 0.0
    target_f: float = 0.0
    reason: str = ""
    values: Values = ()
    wanted: Decimal = ZERO
    since_boot_s: float = 0.0
    sent_n: int = -1
    sent_boot_s: float = -1e18
    tries: int = 0
    failures: int = 0
    not_before_boot_s: float = -1e18
    tightened_boot_s: float = -1e18
    owed: bool = False
    crash_done: bool = False
    blocked: str = ""

    @property
    def kept_reason(self) -> str:
        """What the book must remember: a reason that stands until the position is flat, whoever dies; else what it has."""
        return self.reason if self.reason in STICKY and self.reason != "trim" else self.position.leaving

    @property
    def unkept(self) -> bool:
        """Whether the book does not know yet why the position is being left, or that a crash has tightened its stop."""
        return self.kept_reason != self.position.leaving or self.crash_done != self.position.crash_tightened

    def set_stop(self, stop: Decimal) -> None:
        self.stop = stop
        self.stop_f = float(stop)


def note_of(code: str, watch: Watch, values: Values, text: str) -> Note:
    position = watch.position
    return Note(
        "decision",
        {
            "product_id": position.product_id,
            "code": code,
            "text": text,
            "values": {
                "position_id": position.position_id,
                "size": str(held_size(position)),
                "entry": str(position.average_price),
                "stop_price": str(watch.stop),
                "target_price": str(position.target_price),
                **dict(values),
            },
        },
    )


class ExitTeller:
    """Conditions and the snapshot for people; knows when they were told last."""

    def __init__(self, settings: ExitsSettings, me: Incarnation, board: ConditionBoard) -> None:
        self._settings = settings
        self._me = me
        self._board = board
        self._reported_at = -1e18
        self._people_at = -1e18
        self._last_told: object = None
        self._n = 0

    def not_flat(self, watch: Watch, now: Instant) -> list[Effect]:
        settings, position = self._settings, watch.position
        waited_s = now.boot_s - watch.since_boot_s
        if watch.tries < settings.told_after_tries and waited_s < settings.told_after_s:
            return []
        return self._board.stand(
            Condition(
                fingerprint=f"exits:open:{position.position_id}",
                level="critical",
                active=True,
                text=f"{position.product_id} should be flat ({watch.reason}) and is not, after {watch.tries} tries in {waited_s:.0f} s",
                values={"size": str(held_size(position)), "last": position.last_exit_ended or "", **dict(watch.values)},
            ),
            now,
        )

    def restricted(self, watch: Watch, style: str, now: Instant) -> list[Effect]:
        """The product does not take what an exit wants: post-only at the touch, or nothing at all."""
        position = watch.position
        how = "only post-only orders: the exit rests at the ask" if style else "no exit at all"
        return self._board.stand(
            Condition(
                fingerprint=f"exits:blocked:{position.position_id}",
                level="critical",
                active=True,
                text=f"{position.product_id} should be left ({watch.reason}), but its flags allow {how}",
                values=dict(watch.values),
            ),
            now,
        )

    def unrestricted(self, watch: Watch) -> list[Effect]:
        """The product takes exits again."""
        return self._board.gone(f"exits:blocked:{watch.position.position_id}")

    def eased(self, watch: Watch) -> list[Effect]:
        """The position stays after all: a trim has sold its part, a target was missed again."""
        watch.blocked = ""
        return [*self._board.gone(f"exits:open:{watch.position.position_id}"), *self.unrestricted(watch)]

    def flat(self, watch: Watch) -> list[Effect]:
        """The position is gone: so are its conditions."""
        out = self.eased(watch)
        return [*out, note_of("exit_done", watch, watch.values, watch.reason)] if watch.reason else out

    def unprotected(self, watches: Iterable[Watch], prices: ExitPrices, now: Instant, *, killed: bool) -> list[Effect]:
        """Under a kill, positions without working exits are reported at once and every 5 minutes (DESIGN section 5)."""
        fingerprint = "exits:unprotected"
        watches = tuple(watches)
        if not killed or not watches:
            self._reported_at = -1e18
            return self._board.gone(fingerprint)
        lines = [_line(watch, prices, now) for watch in watches]
        out: list[Effect] = []
        if now.boot_s >= self._reported_at + self._settings.unprotected_report_s:
            self._reported_at = now.boot_s
            out += [
                note_of("position_unprotected", watch, (), line) for watch, line in zip(watches, lines, strict=True)
            ]
        condition = Condition(
            fingerprint=fingerprint,
            level="critical",
            active=True,
            text=f"the kill switch is engaged: {len(lines)} position(s) without working exits: " + "; ".join(lines),
            values={"remind_s": self._settings.unprotected_report_s},
        )
        return [*out, *self._board.stand(condition, now)]

    def snapshot(self, watches: Iterable[Watch], prices: ExitPrices, state: str, now: Instant) -> list[Effect]:
        """On change, at most every 2 s."""
        if now.boot_s < self._people_at + PEOPLE_S:
            return []
        armed = tuple(_armed(watch, prices, now) for watch in watches)
        if (armed, state) == self._last_told:
            return []
        self._last_told = (armed, state)
        self._people_at = now.boot_s
        self._n += 1
        message = ExitsSnapshot(n=self._n, armed=armed, trading_state=state, incarnation=self._me)
        return [Send(role, message) for role in PEOPLE]


def _armed(watch: Watch, prices: ExitPrices, now: Instant) -> ArmedExit:
    position = watch.position
    price = prices.deciding(position.product_id, now)
    mid = price.mid if price is not None else None
    return ArmedExit(
        position_id=position.position_id,
        product_id=position.product_id,
        state="blocked" if watch.blocked else "leaving" if watch.reason else "armed",
        reason=watch.reason or watch.blocked,
        stop_price=watch.stop,
        target_price=position.target_price,
        hold_until_s=position.hold_until_s,
        seen_size=position.seen_size,
        attempts=watch.tries,
        price=mid,
        distance_to_stop_pct=None if not mid else round(float((mid - watch.stop) / mid) * 100, 4),
    )


def _line(watch: Watch, prices: ExitPrices, now: Instant) -> str:
    position = watch.position
    price = prices.deciding(position.product_id, now)
    if price is None:
        return f"{position.product_id} {held_size(position)} without a price, stop {watch.stop}"
    mid = price.mid
    return (
        f"{position.product_id} worth {held_size(position) * mid:.2f} USD, "
        f"{(mid - watch.stop) / mid * 100:.2f} % above its stop {watch.stop}"
    )
