"""How orders live and die in the book: activation, taking, crossing, prints, triggers, fills, ends. Pure and exact.

`Execution` is the lower half of `matching.Venue`: state and matching, without the words of requests and answers.
"""

from __future__ import annotations

import heapq
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

from attrs import evolve

from exchange.simulator.accounts import DEFAULT_TIERS, FeeTier, Wallets, tier_of
from exchange.simulator.book import Book, Level
from exchange.simulator.fills import Fill
from exchange.simulator.orders import BRACKET_STOP_SLACK, FOK, IOC, TERMINAL, Order, user_json
from exchange.simulator.products import Product
from exchange.simulator.settings import Event, Filled, OrderChanged, Settings
from exchange.simulator.words import EXACT, ONE, ZERO, NotFoundError, derived_id, floor_to

__all__ = ["Execution", "Filled", "OrderChanged", "Settings"]

VOLUME_WINDOW_S = 30 * 86_400.0
SELF_TRADE = "SELF_TRADE_PREVENTION"


class Execution:
    """State of one account at one venue, and what happens to its orders."""

    def __init__(
        self,
        products: Iterable[Product],
        accounts: Mapping[str, Decimal],
        fees: Sequence[FeeTier] = DEFAULT_TIERS,
        *,
        portfolio_uuid: str = "00000000-0000-4000-8000-000000000001",
        settings: Settings | None = None,
        now_s: float = 0.0,
    ) -> None:
        self.products = {product.product_id: product for product in products}
        self.wallets = Wallets()
        for currency, amount in accounts.items():
            self.wallets.deposit(currency, amount, now_s)
        self.fees = tuple(fees)
        self.settings = settings or Settings()
        self.portfolio_uuid = portfolio_uuid
        self.namespace = uuid.UUID(portfolio_uuid)
        self.user_id = derived_id(self.namespace, "user", 0)
        self.orders: dict[str, Order] = {}
        self.open_orders: dict[str, Order] = {}
        self.fill_list: list[Fill] = []
        self.fills_by_order: dict[str, list[Fill]] = {}
        self.books: dict[str, Book] = {product.book_id: Book() for product in self.products.values()}
        self.by_client_id: dict[str, tuple[float, str, dict[str, Any] | None]] = {}
        self.changed_orders: dict[str, Order] = {}
        self.order_count = 0
        self._due: list[tuple[float, int, str, str]] = []
        self._ticket = 0
        self._events: list[Event] = []
        self._volume: deque[tuple[float, Decimal]] = deque()
        self._volume_usd = ZERO

    def tier(self, now_s: float) -> tuple[FeeTier, FeeTier | None]:
        return tier_of(self.fees, self.volume_usd(now_s))

    def volume_usd(self, now_s: float) -> Decimal:
        """Trailing 30 days, in USD (other quotes at one to one)."""
        while self._volume and self._volume[0][0] <= now_s - VOLUME_WINDOW_S:
            self._volume_usd -= self._volume.popleft()[1]
        return self._volume_usd

    def book(self, product_id: str) -> Book:
        return self.books[self.products[product_id].book_id]

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        drained, self._events = self._events, []
        return drained

    def advance(self, now_s: float) -> None:
        """Let what is due happen: pending orders meet the book, queued cancels end, good-till-date orders expire."""
        while self._due and self._due[0][0] <= now_s:
            at_s, _, what, order_id = heapq.heappop(self._due)
            order = self.orders[order_id]
            with localcontext(EXACT):
                if order.terminal:
                    continue
                if what == "activate":
                    self._activate(order, at_s)
                elif what == "cancel":
                    self._finish(order, "CANCELLED", "User requested cancel", at_s)
                elif what == "expire" and order.end_time_s is not None and order.end_time_s <= at_s:
                    self._finish(order, "EXPIRED", "", at_s)

    def _at(self, at_s: float, what: str, order: Order) -> None:
        self._ticket += 1
        heapq.heappush(self._due, (at_s, self._ticket, what, order.order_id))

    def _activate(self, order: Order, now_s: float) -> None:
        """The order meets the book."""
        if self.settings.fail_reason:
            order.reject_reason, order.reject_message = (
                self.settings.fail_reason,
                "the order failed after it was accepted",
            )
            self._finish(order, "FAILED", "", now_s)
            return
        if order.status == "PENDING":
            order.status = "OPEN"
        self.touch(order, now_s)
        book = self.books[order.product.book_id]
        if order.stop_price is not None and not order.triggered:
            book.add_stop(order, order.stop_price, up=order.stop_up)
            if order.kind == "BRACKET":
                self.work(order, now_s)
            return
        if order.post_only and self._crosses(book, order):
            self._finish(order, "CANCELLED", "Post only order would have crossed", now_s)
            return
        if order.time_in_force == FOK and self._reachable(book, order) < order.leaves:
            self._finish(order, "CANCELLED", "Fill or kill order could not be filled", now_s)
            return
        self.work(order, now_s)

    def work(self, order: Order, now_s: float) -> None:
        """Take what the limit reaches, then rest or end."""
        book = self.books[order.product.book_id]
        reason = ""
        if not order.product.halted:
            reason = self._take(book, order, now_s)
        if order.terminal:
            return
        if reason or order.kind == "MARKET" or order.time_in_force in (IOC, FOK):
            self._finish(order, "CANCELLED", reason, now_s)
            return
        price = order.limit_price
        assert price is not None  # only market orders have none
        book.own(order.side).add(order, price, book.shown_at(order.side, price))
        order.resting_at = price

    def _reachable(self, book: Book, order: Order) -> Decimal:
        total = ZERO
        for price, size in book.street("SELL" if order.is_buy else "BUY"):
            if self._beyond(order, price):
                break
            total += size
        return total

    @staticmethod
    def _beyond(order: Order, price: Decimal) -> bool:
        limit = order.limit_price
        return limit is not None and (price > limit if order.is_buy else price < limit)

    def _take(self, book: Book, order: Order, now_s: float) -> str:
        """Match an arriving order against the street. Returns why the rest must end, "" when it may rest."""
        other = "SELL" if order.is_buy else "BUY"
        own = book.own(other).best()
        reason = ""
        for level in book.street(other):
            price, offered = level
            if self._beyond(order, price):
                break
            if own is not None and (own.price < price if order.is_buy else own.price > price):
                break
            size = min(offered, self._wanted(order, price))
            if self.settings.match_size_max is not None:
                size = min(size, self.settings.match_size_max)
            if size > 0:
                level[1] -= size
                self._fill(order, price, size, "TAKER", now_s)
            if order.terminal or (self.settings.match_size_max is not None and size > 0):
                break
            if self._wanted(order, price) <= 0:
                if order.quote_size is not None:
                    self._finish(order, "FILLED", "", now_s)
                break
        book.took()
        if not order.terminal and own is not None and not self._beyond(order, own.price):
            reason = SELF_TRADE
        return reason

    def _wanted(self, order: Order, price: Decimal) -> Decimal:
        """How much the order can still take at this price: its leaves, its quote budget, its owner's money."""
        if order.quote_size is not None:
            budget = order.quote_size - order.filled_value - order.fees
            return floor_to(budget / (price * (ONE + order.taker_rate)), order.product.base_increment)
        if order.kind == "MARKET" and order.is_buy:
            money = self.wallets.available(order.product.quote) / (price * (ONE + order.taker_rate))
            return min(order.leaves, floor_to(money, order.product.base_increment))
        return order.leaves

    def _cross(self, book: Book, side: str, now_s: float) -> None:
        """The street's other side has come to or through our resting orders: fill at our prices, best first."""
        with localcontext(EXACT):
            for level in list(book.own(side).from_best()):
                for offered in book.street("SELL" if side == "BUY" else "BUY"):
                    if offered[0] > level.price if side == "BUY" else offered[0] < level.price:
                        break
                    offered[1] -= self._fill_level(level, offered[1], now_s)
                if level.count:
                    break
            book.took()

    def _print_through(self, book: Book, side: str, price: Decimal, size: Decimal, now_s: float) -> None:
        for level in list(book.own(side).from_best()):
            if level.price < price if side == "BUY" else level.price > price:
                break
            while size > 0 and level.groups:
                # At a better price than the print's nobody of the street can be left; at its own, the queue counts.
                ahead = level.groups[0].until - level.gone if level.price == price else ZERO
                if ahead > 0:
                    eaten = min(ahead, size)
                    level.gone += eaten
                    size -= eaten
                    continue
                filled = self._fill_level(level, size, now_s, first_group_only=level.price == price)
                size -= filled
                if filled == 0 or self.settings.match_size_max is not None:
                    break
            if size <= 0:
                break

    def _fill_level(self, level: Level, size: Decimal, now_s: float, *, first_group_only: bool = False) -> Decimal:
        """Fill our orders at one level in time order with up to `size`; how much was filled."""
        filled = ZERO
        for group in list(level.groups):
            for order in list(group.orders.values()):
                part = min(order.leaves, size - filled)
                if self.settings.match_size_max is not None:
                    part = min(part, self.settings.match_size_max)
                if part <= 0:
                    return filled
                filled += part
                level.size -= part
                self._fill(order, level.price, part, "MAKER", now_s)
            if first_group_only:
                break
        return filled

    def _trigger(self, order: Order, now_s: float) -> None:
        if order.terminal or order.triggered or order.product.halted:
            return
        order.triggered = True
        if order.kind == "BRACKET":
            assert order.stop_price is not None  # brackets have one
            self.unrest(order)
            worse = ONE + BRACKET_STOP_SLACK if order.is_buy else ONE - BRACKET_STOP_SLACK
            order.limit_price = floor_to(order.stop_price * worse, order.product.price_increment)
        self.touch(order, now_s)
        self.work(order, now_s)

    def request_cancel(self, order: Order, now_s: float) -> None:
        if self.settings.cancel_s <= 0:
            self._finish(order, "CANCELLED", "User requested cancel", now_s)
            return
        order.pending_cancel = True
        order.status = "CANCEL_QUEUED"
        self._at(now_s + self.settings.cancel_s, "cancel", order)
        self.touch(order, now_s)

    def _fill(self, order: Order, price: Decimal, size: Decimal, liquidity: str, now_s: float) -> None:
        """One match: fill, wallets, hold, state. The resting level's own size is the caller's."""
        value = price * size
        fee = value * (order.maker_rate if liquidity == "MAKER" else order.taker_rate)
        product = order.product
        order.filled_size += size
        order.filled_value += value
        order.fees += fee
        order.fill_count += 1
        order.last_fill_s = now_s
        if order.is_buy:
            self.wallets.trade(product.quote, value, product.base, size, fee, product.quote, now_s)
        else:
            self.wallets.trade(product.base, size, product.quote, value, fee, product.quote, now_s)
        n = len(self.fill_list) + 1
        fill = Fill(
            number=n,
            entry_id=derived_id(self.namespace, "entry", n),
            trade_id=derived_id(self.namespace, "trade", n),
            order_id=order.order_id,
            product_id=product.product_id,
            side=order.side,
            price=price,
            size=size,
            commission=fee,
            liquidity=liquidity,
            size_in_quote=order.quote_size is not None,
            at_s=now_s,
            listed_s=now_s + self.settings.settle_s,
        )
        self.fill_list.append(fill)
        self.fills_by_order.setdefault(order.order_id, []).append(fill)
        self._volume.append((now_s, value))
        self._volume_usd += value
        maker_side = order.side if liquidity == "MAKER" else ("SELL" if order.is_buy else "BUY")
        self._events.append(Filled(fill, maker_side, now_s))
        if order.base_size is not None and order.leaves <= 0:
            self._finish(order, "FILLED", "", now_s)
        else:
            self.rehold(order, now_s)
            self.touch(order, now_s)

    def reverse(self, trade_id: str, now_s: float) -> Fill:
        """Undo a fill, fee included: listed as REVERSAL with the old trade id. The order keeps its numbers.

        Raises NotFoundError for an unknown trade, ValueError when it was undone before or its proceeds are gone.
        """
        rows = [fill for fill in self.fill_list if fill.trade_id == trade_id]
        if not rows:
            raise NotFoundError(f"trade {trade_id} was not found")
        undone = rows[0]
        product = self.products[undone.product_id]
        value = undone.price * undone.size
        give, take = (undone.size, value) if undone.side == "BUY" else (value, undone.size)
        names = (product.base, product.quote) if undone.side == "BUY" else (product.quote, product.base)
        fee_back = undone.commission if undone.side == "SELL" else ZERO
        if len(rows) > 1 or self.wallets.available(names[0]) + fee_back < give:
            raise ValueError(f"trade {trade_id} cannot be undone: undone before, or what it brought is gone")
        with localcontext(EXACT):
            self.wallets.trade(names[0], give, names[1], take, -undone.commission, product.quote, now_s)
        n = len(self.fill_list) + 1
        entry = derived_id(self.namespace, "entry", n)
        fill = evolve(
            undone,
            number=n,
            entry_id=entry,
            at_s=now_s,
            listed_s=now_s + self.settings.settle_s,
            trade_type="REVERSAL",
        )
        self.fill_list.append(fill)
        self.fills_by_order[fill.order_id].append(fill)
        return fill

    def _finish(self, order: Order, status: str, message: str, now_s: float) -> None:
        self.unrest(order)
        order.status = status if status in TERMINAL else "FAILED"
        order.pending_cancel = False
        order.cancel_message = message if status == "CANCELLED" else ""
        self.rehold(order, now_s)
        self.open_orders.pop(order.order_id, None)
        self.touch(order, now_s)

    def unrest(self, order: Order) -> None:
        """Take the order out of the book."""
        if order.resting_at is not None:
            self.books[order.product.book_id].own(order.side).remove(order, order.resting_at)
            order.resting_at = None

    def rehold(self, order: Order, now_s: float) -> None:
        """Make the hold what the order's leaves need now."""
        wanted = order.hold_wanted()
        self.wallets.move_hold(order.hold_currency, wanted - order.hold, now_s)
        order.hold = wanted

    def touch(self, order: Order, now_s: float) -> None:
        order.updated_s = now_s
        self.changed_orders[order.order_id] = order
        self._events.append(OrderChanged(user_json(order, self.portfolio_uuid), now_s))

    @staticmethod
    def _crosses(book: Book, order: Order) -> bool:
        best = book.best("SELL" if order.is_buy else "BUY")
        if best is None or order.limit_price is None:
            return False
        return order.limit_price >= best[0] if order.is_buy else order.limit_price <= best[0]

    # --- resume --------------------------------------------------------------------------------------------------------

    def restore(self, orders: Iterable[Order], fills: Iterable[Fill], now_s: float) -> None:
        """Take back a journalled ledger (wallets are set by the caller); what worked, works again at the queue's end."""
        for order in orders:
            self.orders[order.order_id] = order
            self.order_count = max(self.order_count, order.number)
            self.by_client_id[order.client_order_id] = (order.created_s, order.order_id, None)
        for fill in fills:
            self.fill_list.append(fill)
            self.fills_by_order.setdefault(fill.order_id, []).append(fill)
            self._volume.append((fill.at_s, fill.price * fill.size))
            self._volume_usd += fill.price * fill.size
        for order in self.orders.values():
            if order.terminal:
                continue
            self.open_orders[order.order_id] = order
            if order.end_time_s is not None:
                self._at(order.end_time_s, "expire", order)
            if order.pending_cancel:
                self._at(now_s, "cancel", order)
            book = self.books[order.product.book_id]
            if order.status == "PENDING":
                self._at(now_s, "activate", order)
            elif order.stop_price is not None and not order.triggered:
                book.add_stop(order, order.stop_price, up=order.stop_up)
            if (
                order.status != "PENDING"
                and order.limit_price is not None
                and (order.kind != "STOP_LIMIT" or order.triggered)
            ):
                book.own(order.side).add(order, order.limit_price, book.shown_at(order.side, order.limit_price))
                order.resting_at = order.limit_price
