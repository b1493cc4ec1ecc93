"""The matching engine of the simulated venue: pure, exact, fast.

Rule 1: no clock, no I/O, no randomness. Time is an argument (`now_s`, venue seconds); ids are derived from counters.
Rule 2: everything is Decimal, and money is conserved to the last digit: what leaves a wallet arrives on the street or at
        the fee account (`Wallets.trade` is the only place where money moves).
Rule 3: bodies and answers are Coinbase's JSON; this module knows nothing of HTTP, faults or files.

Who calls: the server (REST and WebSocket), the backtest and the fault simulation. A market speaks through
`market_quote` (the street's best prices, moves what rests) and `market_trade` (a print, eats through the queue).
Where Coinbase is silent the choice is written beside the code; the largest: an order that would trade with one of our
own is cut off there (the newest is cancelled), since Coinbase prevents self-trades but does not say how for spot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

from exchange.simulator import listing
from exchange.simulator.book import Book, Depth
from exchange.simulator.editing import edit_order, edit_preview, preview_order
from exchange.simulator.execution import Execution
from exchange.simulator.orders import Order, RefusedError, check_notional, order_json, read_order, user_json
from exchange.simulator.settings import Filled, OrderChanged, Settings
from exchange.simulator.words import EXACT, ONE, ZERO, BadRequestError, NotFoundError, derived_id

__all__ = ["Filled", "OrderChanged", "Settings", "Venue"]


class Venue(Execution):
    """One account at one venue.

    `products`: by id. `accounts`: {"USD": Decimal(10000)}, the opening balances. `fees`: tiers by 30-day volume; the tier
    at placement applies to the order. `portfolio_uuid` names the account; all other ids derive from it.
    """

    # --- orders --------------------------------------------------------------------------------------------------------

    def create_order(self, body: dict[str, Any], now_s: float) -> dict[str, Any]:
        """POST /orders: Coinbase's answer, accepted or refused. Raises BadRequestError for what is no order."""
        with localcontext(EXACT):
            self.advance(now_s)
            client_id = body.get("client_order_id")
            if not isinstance(client_id, str) or not client_id:
                raise BadRequestError("client_order_id is required")
            known = self._known(client_id, now_s)
            if known and self.settings.dedupe_before_validation:
                return known
            try:
                order = read_order(body, self.products, now_s)
                self.admit(order, now_s)
            except RefusedError as refusal:
                answer = {"success": False, "error_response": refusal.as_json(), "order_configuration": {}}
                if not self.settings.forget_refusals and client_id not in self.by_client_id:
                    self.by_client_id[client_id] = (now_s, "", answer)
                return answer
            if known:
                return known
            self._accept(order, now_s)
            return self._accepted(order)

    def cancel(self, order_ids: Sequence[str], now_s: float) -> dict[str, Any]:
        """POST /orders/batch_cancel. Success means accepted: the order ends after `cancel_s`, unless a fill wins."""
        with localcontext(EXACT):
            self.advance(now_s)
            return {"results": [self._cancel_one(order_id, now_s) for order_id in order_ids]}

    def edit(self, body: dict[str, Any], now_s: float) -> dict[str, Any]:
        """POST /orders/edit {"order_id", "price", "size"}; size is the new total, filled part included."""
        with localcontext(EXACT):
            self.advance(now_s)
            return edit_order(self, body, now_s)

    def edit_preview(self, body: dict[str, Any], now_s: float) -> dict[str, Any]:
        with localcontext(EXACT):
            self.advance(now_s)
            return edit_preview(self, body)

    def preview(self, body: dict[str, Any], now_s: float) -> dict[str, Any]:
        """POST /orders/preview: what the order would cost, or PREVIEW_ reasons in `errs`."""
        with localcontext(EXACT):
            self.advance(now_s)
            return preview_order(self, body, now_s)

    # --- questions -----------------------------------------------------------------------------------------------------

    def order(self, order_id: str) -> dict[str, Any]:
        """GET /orders/historical/{id}. Raises NotFoundError."""
        order = self.orders.get(order_id)
        if order is None:
            raise NotFoundError(f"order with this orderID was not found: {order_id}")
        return {"order": order_json(order, self.user_id, self.portfolio_uuid)}

    def list_orders(self, filters: Mapping[str, Sequence[str]], now_s: float) -> dict[str, Any]:
        """GET /orders/historical/batch; `filters`: query parameters, each a list of texts."""
        self.advance(now_s)
        return listing.orders_page(self, filters, now_s)

    def fills(self, filters: Mapping[str, Sequence[str]], now_s: float) -> dict[str, Any]:
        """GET /orders/historical/fills; a fill is listed `settle_s` after its trade."""
        self.advance(now_s)
        with localcontext(EXACT):
            return listing.fills_page(self, filters, now_s)

    def accounts(self, limit: int = 49, cursor: str = "") -> dict[str, Any]:
        return listing.accounts_page(self, limit, cursor)

    def account(self, account_uuid: str) -> dict[str, Any]:
        return listing.account_answer(self, account_uuid)

    def user_orders(self) -> list[dict[str, Any]]:
        """The open orders as the user channel's snapshot tells them, oldest first."""
        return [user_json(order, self.portfolio_uuid) for order in self.open_orders.values() if order.status == "OPEN"]

    # --- time and market -----------------------------------------------------------------------------------------------

    def market_quote(
        self,
        product_id: str,
        bid: Decimal | None,
        ask: Decimal | None,
        bid_size: Decimal,
        ask_size: Decimal,
        now_s: float,
        depth: Depth | None = None,
    ) -> None:
        """The street now shows these best prices (None: nothing on that side); what rests of ours and crosses is filled.

        `depth()` gives the levels behind the best, best first; it is only called when somebody takes or looks.
        """
        if self._due:
            self.advance(now_s)
        book = self.books[product_id]
        book.set_quote(bid, ask, bid_size, ask_size, depth, now_s)
        if book.idle:
            return
        book.bids.street_moved(bid, bid_size)
        book.asks.street_moved(ask, ask_size)
        best_bid, best_ask = book.bids.best(), book.asks.best()
        if best_bid is not None and ask is not None and best_bid.price >= ask and not self.products[product_id].halted:
            self._cross(book, "BUY", now_s)
        if best_ask is not None and bid is not None and best_ask.price <= bid and not self.products[product_id].halted:
            self._cross(book, "SELL", now_s)

    def market_trade(self, product_id: str, price: Decimal, size: Decimal, side: str, now_s: float) -> None:
        """A print of the street: `side` is the maker's (BUY: somebody sold into bids), as Coinbase reports it."""
        if self._due:
            self.advance(now_s)
        book = self.books[product_id]
        book.last = price
        own = book.own(side)
        best = own.best()
        if (
            best is not None
            and (best.price >= price if side == "BUY" else best.price <= price)
            and not self.products[product_id].halted
        ):
            with localcontext(EXACT):
                self._print_through(book, side, price, size, now_s)
        for order in list(book.triggered()):
            with localcontext(EXACT):
                self._trigger(order, now_s)

    # --- inside: admission ---------------------------------------------------------------------------------------------

    def _known(self, client_id: str, now_s: float) -> dict[str, Any] | None:
        """The answer to a client_order_id that was seen before, if it is still remembered."""
        entry = self.by_client_id.get(client_id)
        if entry is None:
            return None
        at_s, order_id, refusal = entry
        retention = self.settings.client_id_retention_s
        if retention is not None and now_s - at_s >= retention:
            return None
        if refusal is not None:
            return refusal
        if self.settings.duplicate_answer == "existing":
            return self._accepted(self.orders[order_id])
        refused = RefusedError("DUPLICATE_CLIENT_ORDER_ID", f"client_order_id {client_id} was used before")
        return {"success": False, "error_response": refused.as_json(), "order_configuration": {}}

    def _accepted(self, order: Order) -> dict[str, Any]:
        return {
            "success": True,
            "success_response": {
                "order_id": order.order_id,
                "product_id": order.product.product_id,
                "side": order.side,
                "client_order_id": order.client_order_id,
                "attached_order_id": "",
            },
            "order_configuration": order.config,
        }

    def admit(self, order: Order, now_s: float) -> None:
        """What depends on book and wallets. Raises RefusedError; changes nothing but the order."""
        book = self.books[order.product.book_id]
        tier, _ = self.tier(now_s)
        order.maker_rate, order.taker_rate = tier.maker, tier.taker
        limit = self.settings.open_orders_max
        if limit is not None and len(self.open_orders) >= limit:
            raise RefusedError("COMMANDER_REJECTED_NEW_ORDER", f"more than {limit} open orders")
        if order.post_only and self._crosses(book, order):
            raise RefusedError("INVALID_LIMIT_PRICE_POST_ONLY", "post only order would cross the book", preview=True)
        if order.kind in ("STOP_LIMIT", "BRACKET"):
            self._check_stop(order, book)
        needed = order.hold_wanted()
        if order.kind == "MARKET":
            if not book.street("SELL" if order.is_buy else "BUY"):
                raise RefusedError("INVALID_NO_LIQUIDITY", f"{order.product.product_id} shows nothing to trade against")
            if order.base_size is not None:
                value = self.walk_value(book, order.side, order.base_size)
                check_notional(order.product, value)
                needed = value * (ONE + order.taker_rate) if order.is_buy else needed
        if needed > self.wallets.available(order.hold_currency):
            raise RefusedError("INSUFFICIENT_FUND", "Insufficient balance in source account", preview=True)

    def walk_value(self, book: Book, side: str, size: Decimal) -> Decimal:
        """What `size` would cost or bring against the street now; what it cannot reach counts at the last level."""
        value, price = ZERO, ZERO
        for price, offered in book.street("SELL" if side == "BUY" else "BUY"):
            part = min(size, offered)
            value += part * price
            size -= part
            if size <= 0:
                return value
        return value + size * price

    @staticmethod
    def _check_stop(order: Order, book: Book) -> None:
        stop, limit = order.stop_price, order.limit_price
        assert stop is not None  # read_order gives both
        assert limit is not None
        last = book.last
        if order.kind == "STOP_LIMIT":
            if order.is_buy and stop > limit:
                raise RefusedError(
                    "STOP_PRICE_ABOVE_LIMIT_PRICE", "a buy's stop must not be above its limit", preview=True
                )
            if not order.is_buy and stop < limit:
                raise RefusedError(
                    "STOP_PRICE_BELOW_LIMIT_PRICE", "a sell's stop must not be below its limit", preview=True
                )
        elif stop <= limit if order.is_buy else stop >= limit:
            raise RefusedError(
                "INVALID_BRACKET_ORDER_PRICES", "stop and target of a bracket are on the wrong sides", preview=True
            )
        if last is not None and (last >= stop if order.stop_up else last <= stop):
            name = "STOP_PRICE_BELOW_LAST_TRADE_PRICE" if order.stop_up else "STOP_PRICE_ABOVE_LAST_TRADE_PRICE"
            raise RefusedError(name, f"the last trade {last:f} has already passed the stop {stop:f}", preview=True)

    def _accept(self, order: Order, now_s: float) -> None:
        self.order_count += 1
        order.number = self.order_count
        order.order_id = derived_id(self.namespace, "order", order.number)
        self.orders[order.order_id] = self.open_orders[order.order_id] = order
        self.by_client_id[order.client_order_id] = (now_s, order.order_id, None)
        self.rehold(order, now_s)
        if order.end_time_s is not None:
            self._at(order.end_time_s, "expire", order)
        if self.settings.pending_s > 0:
            self._at(now_s + self.settings.pending_s, "activate", order)
            self.touch(order, now_s)
        else:
            self._activate(order, now_s)

    def _cancel_one(self, order_id: str, now_s: float) -> dict[str, Any]:
        order = self.orders.get(order_id)
        reason = "UNKNOWN_CANCEL_FAILURE_REASON"
        if order is None or order.status in ("CANCELLED", "EXPIRED", "FAILED"):
            reason = "UNKNOWN_CANCEL_ORDER"
        elif order.status == "FILLED":
            reason = "ORDER_IS_FULLY_FILLED"
        elif order.pending_cancel:
            reason = "DUPLICATE_CANCEL_REQUEST"
        else:
            self.request_cancel(order, now_s)
            return {"success": True, "failure_reason": reason, "order_id": order_id}
        return {"success": False, "failure_reason": reason, "order_id": order_id}
