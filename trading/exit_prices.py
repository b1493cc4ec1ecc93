"""What exits decide on: a slot while its connection lives, else a young REST answer; and what happens when there is neither.

Protocol section 2: the feed's connection must be alive (heartbeat <= 10 s, no gap), or a REST best_bid_ask <= 5 s old.
When a held product has neither, it is asked for by REST every 5 s, and after 60 s a person must know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from trading.data_guards import OutlierGuard
from trading.exit_rules import Price
from trading.exits_settings import ExitsSettings
from trading.machine import Effect, Instant, Send
from trading.messages.control import Condition
from trading.messages.market import Quote
from trading.messages.orders import BestBidAsk, Page, Query, QueryKind
from trading.publish import ConditionBoard


def price_of(quote: Quote) -> Price:
    return Price(bid=quote.bid, ask=quote.ask, exchange_s=quote.exchange_s, received_boot_s=quote.received_boot_s)


class ExitPrices:
    """Quotes, guards and REST answers of the products that are held."""

    def __init__(self, settings: ExitsSettings, role: str, life: int, board: ConditionBoard) -> None:
        self._settings = settings
        self._role = role
        self._life = life
        self._board = board
        self._quotes: dict[str, Quote] = {}
        self._guards: dict[str, OutlierGuard] = {}
        self._rest: dict[str, Price] = {}
        self._blind_since: dict[str, float] = {}
        self._asked_boot_s = -1e18
        self._asks = 0

    def hold(self, average_prices: Mapping[str, Decimal]) -> list[Effect]:
        """The products that are held now, each with what was paid: believed until quotes confirm another price.

        After a restart the first tick may be the bad one.
        """
        out: list[Effect] = []
        for name, paid in average_prices.items():
            if name not in self._guards:
                limits = self._settings
                guard = OutlierGuard(limits.outlier_pct, limits.outlier_deviations, limits.outlier_confirmations)
                guard.believe(float(paid))
                self._guards[name] = guard
        for name in [name for name in self._guards if name not in average_prices]:
            del self._guards[name]
            self._rest.pop(name, None)
            self._blind_since.pop(name, None)
            out += self._board.gone(f"exits:no_price:{name}")
        return out

    def take(self, quote: Quote, now: Instant) -> float:
        """The believed mid, or 0.0 when this quote must not decide anything (crossed, locked, an unconfirmed jump, or not alive:
        a slot keeps the last price of a dead feed, and who starts reads it hours later).
        """
        self._quotes[quote.product_id] = quote
        bid, ask = quote.bid, quote.ask
        if bid >= ask or bid <= 0 or not self._lives(quote, now):
            return 0.0
        mid = (quote.bid_f + quote.ask_f) * 0.5
        return mid if self._guards[quote.product_id].accept(mid, quote.exchange_s, now.boot_s) else 0.0

    def _lives(self, quote: Quote | None, now: Instant) -> bool:
        return (
            quote is not None
            and quote.alive_boot_s > 0.0
            and now.boot_s - quote.alive_boot_s <= self._settings.feed_alive_s_max
        )

    def deciding(self, product_id: str, now: Instant) -> Price | None:
        quote = self._quotes.get(product_id)
        if quote is not None and self._lives(quote, now):
            guard = self._guards.get(product_id)
            if (
                guard is not None
                and guard.suspicious
                and now.boot_s - guard.since_boot_s >= self._settings.outlier_stand_s
            ):
                guard.believe((quote.bid_f + quote.ask_f) * 0.5)
            if (guard is None or not guard.suspicious) and 0 < quote.bid < quote.ask:
                return price_of(quote)
            return None
        rest = self._rest.get(product_id)
        if rest is not None and now.boot_s - rest.received_boot_s <= self._settings.rest_age_s_max:
            return rest
        return None

    def last(self, product_id: str) -> Price | None:
        """The newest price there ever was, however old: for exits that need a limit and no deciding quote."""
        quote = self._quotes.get(product_id)
        known = [price_of(quote)] if quote is not None and quote.bid > 0 else []
        known += [self._rest[product_id]] if product_id in self._rest else []
        return max(known, key=lambda price: price.received_boot_s, default=None)

    def answered(self, page: Page, now: Instant) -> None:
        """A partial page is no answer, and a jump none until a second answer or the feed jumps the same way."""
        if not page.complete:
            return
        for item in page.items:
            answered_s = page.answered_boot_s or now.boot_s
            if isinstance(item, BestBidAsk) and 0 < item.bid < item.ask and self._believed(item, answered_s):
                self._rest[item.product_id] = Price(
                    bid=item.bid,
                    ask=item.ask,
                    exchange_s=item.exchange_s,
                    received_boot_s=answered_s,
                    source="rest",
                )

    def _believed(self, item: BestBidAsk, answered_s: float) -> bool:
        """Answers come `query_s` apart: two on the same side are not one bad moment of a thin book, and a market that goes
        on falling does not come back to agree.
        """
        guard = self._guards.get(item.product_id)
        if guard is None:
            return False
        mid, suspect = (float(item.bid) + float(item.ask)) * 0.5, guard.suspect
        if guard.accept(mid, answered_s, answered_s):
            return True
        if not suspect or (suspect < guard.price) != (mid < guard.price):
            return False
        guard.believe(mid)
        return True

    def ask(self, held: Iterable[str], now: Instant) -> list[Effect]:
        """Ask by REST for what is blind, and tell people what stays blind."""
        settings = self._settings
        blind: list[str] = []
        out: list[Effect] = []
        for name in held:
            if self._lives(self._quotes.get(name), now):
                self._blind_since.pop(name, None)
                out += self._board.gone(f"exits:no_price:{name}")
                continue
            blind.append(name)
            since = self._blind_since.setdefault(name, now.boot_s)
            rest = self._rest.get(name)
            unpriced_s = now.boot_s - max(since, rest.received_boot_s if rest is not None else since)
            if unpriced_s >= settings.no_price_critical_s:
                condition = Condition(
                    fingerprint=f"exits:no_price:{name}",
                    level="critical",
                    active=True,
                    text=f"{name} is held and has had no price for {unpriced_s:.0f} s, neither by feed nor by REST: its stop cannot act",
                    values={"product_id": name, "blind_s": round(unpriced_s)},
                )
                out += self._board.stand(condition, now)
            elif rest is not None and unpriced_s < settings.rest_age_s_max:
                out += self._board.gone(f"exits:no_price:{name}")
        if blind and now.boot_s >= self._asked_boot_s + settings.query_s:
            self._asked_boot_s = now.boot_s
            self._asks += 1
            query = Query(
                query_id=f"exits:{self._life}:{self._asks}",
                reply_to=self._role,
                kind=QueryKind.BEST_BID_ASK,
                product_ids=tuple(blind),
            )
            out.append(Send("gateway", query))
        return out
