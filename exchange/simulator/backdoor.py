"""The back door, for tests and operators of simulations: the whole truth, and the levers. On its own port, under /_sim/.

GET  state[?requests_since=N]   every order, fill, balance and request ever, in Coinbase's field names
POST faults {"faults": [...]}   a fault plan (faults.py)        GET faults · DELETE faults
POST market {...}               {"kind": "crash", "product_id", "percent": -20, "over_s": 5, "back_s": null}
{"kind": "path", "product_id", "points": [[after_s, percent], ...]}
{"kind": "volume" | "liquidity", "product_id", "for_s", "volume_x", "depth_x", "spread_bps"}
{"kind": "bad_tick", "product_id", "percent": 30, "for_s": 0.25}
GET  clock · POST clock {"advance_s": 3600, "speed": 60}
"""

from __future__ import annotations

import json
from decimal import localcontext
from typing import Any

from aiohttp import web

from exchange.simulator import listing
from exchange.simulator.clock import boot_s
from exchange.simulator.faults import FaultError
from exchange.simulator.fills import fill_json
from exchange.simulator.market import move_from_json, percent
from exchange.simulator.orders import order_json
from exchange.simulator.running import Running
from exchange.simulator.words import EXACT, NotFoundError, plain


def state_json(running: Running, requests_since: int = 0) -> dict[str, Any]:
    engine = running.venue
    wallets = engine.wallets
    with localcontext(EXACT):
        return {
            "now": running.now(),
            "clock": running.clock.as_json(),
            "portfolio_uuid": engine.portfolio_uuid,
            "orders": [order_json(order, engine.user_id, engine.portfolio_uuid) for order in engine.orders.values()],
            "fills": [
                {**fill_json(fill, engine.user_id, engine.portfolio_uuid), "listed_at": fill.listed_s}
                for fill in engine.fill_list
            ],
            "accounts": [listing.account_json(engine, wallet) for wallet in wallets.by_currency.values()],
            "street": {currency: plain(amount) for currency, amount in wallets.street.items()},
            "fees": {currency: plain(amount) for currency, amount in wallets.fees.items()},
            "prices": {
                product_id: {
                    "bid": plain(book.bid) if book.bid is not None else "",
                    "ask": plain(book.ask) if book.ask is not None else "",
                    "last": plain(book.last) if book.last is not None else "",
                }
                for product_id, book in engine.books.items()
            },
            "requests": running.journal.requests(requests_since),
            "in_flight": list(running.in_flight.values()),
        }


class BackDoor:
    def __init__(self, running: Running) -> None:
        self.running = running

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/state", self.state),
            web.get("/_sim/faults", self.faults),
            web.post("/_sim/faults", self.post_faults),
            web.delete("/_sim/faults", self.delete_faults),
            web.post("/_sim/market", self.post_market),
            web.post("/_sim/fills", self.post_fills),
            web.get("/_sim/clock", self.clock),
            web.post("/_sim/clock", self.post_clock),
        ]

    async def state(self, request: web.Request) -> web.Response:
        since = request.query.get("requests_since", "0")
        return web.json_response(state_json(self.running, int(since) if since.isdigit() else 0))

    async def faults(self, _: web.Request) -> web.Response:
        return web.json_response(self.running.faults.as_json(boot_s()))

    async def post_faults(self, request: web.Request) -> web.Response:
        try:
            plan = await request.json()
            self.running.check_plan(plan)
            ids = self.running.faults.add(plan, boot_s())
        except (FaultError, ValueError) as error:
            return _bad(str(error))
        self.running.apply_faults()
        return web.json_response({"ids": ids})

    async def delete_faults(self, _: web.Request) -> web.Response:
        self.running.clear_faults()
        return web.json_response({"faults": []})

    async def post_market(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            if asked.get("kind") == "deep_book":
                return self._deepen(str(asked["product_id"]), int(asked.get("levels", 22_000)))
            moves = [move_from_json(row) for row in moves_of(asked, self.running.now(), set(self.running.street_ids))]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _bad(f"market move is not usable: {error!r}")
        for move in moves:
            self.running.market.add_move(move)
        self.running.journal.save_moves(self.running.market.moves())
        return web.json_response({"moves": [move.as_json() for move in moves]})

    async def post_fills(self, request: web.Request) -> web.Response:
        try:
            trade_id = str((await request.json())["reverse"])
            engine = self.running.venue
            fill = self.running.act(lambda now_s: engine.reverse(trade_id, now_s))
        except (ValueError, KeyError, TypeError, NotFoundError) as error:
            return _bad(str(error))
        return web.json_response(fill_json(fill, engine.user_id, engine.portfolio_uuid))

    def _deepen(self, product_id: str, levels: int) -> web.Response:
        tick = self.running.ticks[product_id]
        self.running.market.deepen(product_id, levels, tick)
        return web.json_response({"product_id": product_id, "levels": levels})

    async def clock(self, _: web.Request) -> web.Response:
        return web.json_response(self.running.clock.as_json())

    async def post_clock(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            self.running.change_clock(advance_s=float(asked.get("advance_s", 0.0)), speed=asked.get("speed"))
        except (ValueError, TypeError, AttributeError) as error:
            return _bad(str(error))
        return web.json_response(self.running.clock.as_json())


def _bad(sentence: str) -> web.Response:
    return web.Response(text=json.dumps({"error": sentence}), status=400, content_type="application/json")


def moves_of(asked: dict[str, Any], now_s: float, products: set[str]) -> list[dict[str, Any]]:
    """Rows of moves from a POST market body. Raises ValueError, KeyError or TypeError."""
    kind = asked["kind"]
    names = sorted(products) if asked.get("product_id") in (None, "*") else [str(asked["product_id"])]
    if unknown := set(names) - products:
        raise ValueError(f"{', '.join(unknown)} is not traded here")
    row: dict[str, Any] = {"start_s": now_s}
    if kind == "crash":
        over_s = float(asked.get("over_s", 5.0))
        down = percent(float(asked.get("percent", -20.0)))
        row["points"] = [[over_s, down]]
        if asked.get("back_s"):
            row["points"].append([over_s + float(asked["back_s"]), 0.0])
        row |= {"for_s": over_s, "volume_x": float(asked.get("volume_x", 20.0))}
    elif kind == "path":
        row["points"] = [[float(after), percent(float(value))] for after, value in asked["points"]]
        row |= {"for_s": row["points"][-1][0], "volume_x": float(asked.get("volume_x", 1.0))}
    elif kind in ("volume", "liquidity"):
        row |= {name: float(asked[name]) for name in ("for_s", "volume_x", "depth_x", "spread_bps") if name in asked}
    elif kind == "bad_tick":
        up = percent(float(asked.get("percent", 30.0)))
        length = float(asked.get("for_s", 0.25))
        row["points"] = [[0.001, up], [length, up], [length + 0.001, 0.0]]
    else:
        raise ValueError(f"kind {kind!r} is unknown; there are crash, path, volume, liquidity, bad_tick")
    return [{**row, "product_id": name} for name in names]
