"""How a REST request comes in: counted, limited, disturbed, authenticated, answered, and written down.

The order is the venue's: a request that is held before its arrival meets the token's `exp` when it is let in; one that is
held after its arrival is processed later whatever became of its connection. Handlers are never cancelled by a client
that hangs up.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from exchange.simulator.candles import CANDLES_MAX, GRANULARITIES_S
from exchange.simulator.clock import boot_s
from exchange.simulator.faults import Rule
from exchange.simulator.keys import ApiKey, UnauthorizedError
from exchange.simulator.limits import Bucket
from exchange.simulator.orders import RefusedError
from exchange.simulator.rest import PREFIX, PUBLIC, ROUTES, TRADE, Ask, Handler
from exchange.simulator.running import Running
from exchange.simulator.words import BadRequestError, NotFoundError, rfc3339

IDLE_CLOSE_S = 75.0
BODY_LOGGED = 4096


def error_json(status: int, word: str, message: str) -> web.Response:
    return web.json_response({"error": word, "error_details": message, "message": message}, status=status)


def unauthorized() -> web.Response:
    return web.Response(text="Unauthorized\n", status=401, content_type="text/plain")


class Gate:
    def __init__(self, running: Running) -> None:
        self.running = running
        self.limits = running.limits

    def routes(self) -> list[web.RouteDef]:
        found = [web.route(method, PREFIX + path, self._entry(need, handler)) for method, path, need, handler in ROUTES]
        found.append(web.get("/api/v2/{part:.+}.json", self._status_page))
        found.append(web.route("*", "/{rest:.*}", self._unknown))
        return found

    def _arrival(self) -> int:
        self.running.arrivals += 1
        return self.running.arrivals

    async def _unknown(self, request: web.Request) -> web.Response:
        self.running.journal.request(self._arrival(), self._row(request, "", None) | {"status": 404})
        return web.json_response({"error": "unknown", "error_details": "Not Found", "message": "Not Found"}, status=404)

    async def _status_page(self, request: web.Request) -> web.StreamResponse:
        rules = self.running.faults.request("GET", request.path, "", boot_s())
        for rule in rules:
            self._note(rule, f"GET {request.path}")
            if rule.kind in ("offline", "drop_request"):
                return self._reset(request)
            if rule.kind == "status":
                return faulty_status(rule)
        found = self.running.status_page.part(request.match_info["part"], self.running.now())
        if found is None:
            return web.json_response({"error": "not found"}, status=404)
        return web.json_response(found)

    def _row(self, request: web.Request, raw: str, key: ApiKey | None) -> dict[str, Any]:
        now_s = self.running.now()
        body: Any = raw[:BODY_LOGGED]
        if raw and len(raw) <= BODY_LOGGED:
            try:
                body = json.loads(raw)
            except ValueError:
                body = raw
        return {
            "time": rfc3339(now_s),
            "boot_s": boot_s(),
            "method": request.method,
            "path": request.path,
            "query": request.query_string,
            "body": body,
            "key": key.name if key else None,
        }

    def _entry(self, need: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def enter(request: web.Request) -> web.StreamResponse:
            raw = (await request.read()).decode("utf-8", "replace")
            # The request is in the ledger with its effect: a kill after the effect cannot hide who asked.
            number = self._arrival()
            row = self._row(request, raw, None) | {"status": None}
            self.running.journal.request(number, row)
            self.running.in_flight[number] = row
            try:
                response = await self._process(request, raw, need, handler, row)
                row["status"] = response.status
            finally:
                self.running.in_flight.pop(number, None)
                row["answered_boot_s"] = boot_s()
                self.running.journal.request(number, row)
            return response

        return enter

    async def _process(
        self, request: web.Request, raw: str, need: str, handler: Handler, row: dict[str, Any]
    ) -> web.StreamResponse:
        running = self.running
        rules = running.faults.request(request.method, request.path, f"{raw} {request.query_string}", boot_s())
        for rule in rules:
            self._note(rule, f"{request.method} {request.path}", row)
            if rule.kind == "hold" and rule.spec.get("at") == "arrival":
                await asyncio.sleep(float(rule.spec.get("seconds", 1.0)))
            elif rule.kind in ("offline", "drop_request"):
                return self._reset(request)
            elif rule.kind == "status" and not rule.spec.get("effect"):
                return faulty_status(rule)
        bucket = self._bucket(request, need)
        key: ApiKey | None = None
        if need != PUBLIC:
            try:
                key = self._authenticate(request)
            except UnauthorizedError as error:
                row["refused"] = str(error)
                return unauthorized()
            row["key"] = key.name
            bucket = self.limits.bucket(key.name, self.limits.private_per_s)
        if not bucket.take(boot_s()):
            answer = {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}
            return web.json_response(answer, status=429, headers=bucket.headers())
        if need == TRADE and key is not None and not key.can_trade:
            # Without a blank after the colon: the SDK looks for exactly this text.
            text = '{"error":"PERMISSION_DENIED","error_details":"Missing required scopes","message":"Missing required scopes"}'
            return web.Response(text=text, status=403, content_type="application/json")
        for rule in rules:
            if rule.kind == "hold" and rule.spec.get("at") != "arrival":
                await asyncio.sleep(float(rule.spec.get("seconds", 1.0)))
        refusal = next((rule for rule in rules if rule.kind == "refuse"), None)
        if refusal is not None:
            response = web.json_response(_refused(refusal))
        else:
            await self._warm(request)
            response = self._answer(request, raw, key, handler, row)
        response.headers.update(bucket.headers())
        return await self._disturbed_reply(request, response, rules)

    def _bucket(self, request: web.Request, need: str) -> Bucket:
        who = request.remote or "?"
        return self.limits.bucket(f"{need}:{who}", self.limits.public_per_s)

    def _authenticate(self, request: web.Request) -> ApiKey:
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme != "Bearer" or not token:
            raise UnauthorizedError("no bearer token")
        host = request.headers.get("Host", "")
        return self.running.doorman.check(token.strip(), f"{request.method} {host}{request.path}")

    async def _warm(self, request: web.Request) -> None:
        """Months of candles are made day by day, so that the market moves on meanwhile."""
        length = GRANULARITIES_S.get(request.query.get("granularity", ""), 0)
        start, end = request.query.get("start", ""), request.query.get("end", "")
        product = self.running.venue.products.get(request.match_info.get("id", ""))
        if length < 3600 or product is None or not (start.isdigit() and end.isdigit()):
            return
        first = max(int(start), int(end) - length * (CANDLES_MAX + 1)) // 86_400
        for day in range(first, min(int(end), int(self.running.now())) // 86_400 + 1):
            self.running.market.hour_bars(product.book_id, day * 24, day * 24 + 23)
            await asyncio.sleep(0)

    def _answer(
        self, request: web.Request, raw: str, key: ApiKey | None, handler: Handler, row: dict[str, Any]
    ) -> web.Response:
        query: dict[str, list[str]] = {}
        for name, value in request.query.items():
            query.setdefault(name, []).append(value)
        try:
            body = json.loads(raw) if raw.strip() else None
        except ValueError:
            return error_json(400, "INVALID_ARGUMENT", "the body is not JSON")
        try:
            answer = handler(self.running, Ask(query, body, dict(request.match_info), key))
        except BadRequestError as error:
            return error_json(400, "INVALID_ARGUMENT", str(error))
        except NotFoundError as error:
            return error_json(404, "NOT_FOUND", str(error))
        if request.method == "POST" and isinstance(answer, dict) and "success" in answer:
            row["success"] = answer["success"]
            row["order_id"] = (answer.get("success_response") or {}).get("order_id")
        return web.Response(text=json.dumps(answer), content_type="application/json")

    async def _disturbed_reply(
        self, request: web.Request, response: web.Response, rules: list[Rule]
    ) -> web.StreamResponse:
        for rule in rules:
            if rule.kind == "delay":
                await asyncio.sleep(float(rule.spec.get("seconds", 1.0)))
            elif rule.kind == "drop_reply":
                return self._reset(request)
            elif rule.kind == "status":
                return faulty_status(rule)
            elif rule.kind == "html":
                return web.Response(text=HTML, content_type="text/html")
            elif rule.kind == "truncate":
                text = response.text or ""
                response.text = text[: len(text) // 2]
            elif rule.kind == "trickle":
                return await self._trickle(request, response, float(rule.spec.get("seconds", 1.0)))
        return response

    @staticmethod
    async def _trickle(request: web.Request, response: web.Response, seconds: float) -> web.StreamResponse:
        slow = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
        body = (response.text or "").encode()
        slow.content_length = len(body)
        await slow.prepare(request)
        try:
            for n in range(len(body)):
                await slow.write(body[n : n + 1])
                await asyncio.sleep(seconds)
        except ConnectionError:
            pass  # the client lost patience; the effect stands
        return slow

    @staticmethod
    def _reset(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=499)

    def _note(self, rule: Rule, detail: str, row: dict[str, Any] | None = None) -> None:
        self.running.faults.note(rule, self.running.now(), boot_s(), detail)
        if row is not None:
            row.setdefault("faults", []).append(rule.fault_id)


HTML = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"


def faulty_status(rule: Rule) -> web.Response:
    """The error answer that a `status` fault describes."""
    status = int(rule.spec.get("status", 503))
    kind = rule.spec.get("body", "json")
    headers = {}
    if rule.spec.get("retry_after_s") is not None:
        headers["Retry-After"] = str(int(rule.spec["retry_after_s"]))
    if kind == "html":
        return web.Response(text=HTML, status=status, content_type="text/html", headers=headers)
    if kind == "text":
        return web.Response(text="upstream connect error\n", status=status, headers=headers)
    if kind == "empty":
        return web.Response(status=status, headers=headers)
    answer: dict[str, Any] = {
        "error": "unavailable",
        "code": 14,
        "message": "the service is unavailable",
        "details": [],
    }
    if status == 429:
        answer = {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}
    text = json.dumps(answer)
    if kind == "truncated":
        text = text[: len(text) // 2]
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)


def _refused(rule: Rule) -> dict[str, Any]:
    reason = str(rule.spec.get("reason", "INSUFFICIENT_FUND"))
    refusal = RefusedError(reason.removeprefix("PREVIEW_"), "refused by a fault plan", reason.startswith("PREVIEW_"))
    return {"success": False, "error_response": refusal.as_json(), "order_configuration": {}}
