"""JSON <-> our words for orders: bodies out, answers in. Sans-I/O; only this package knows Coinbase's names.

What comes in is believed only as far as it is proved, and nothing raises out of here. The answer to a placement
becomes one of four (protocol section 2):

    Accepted   2xx with `success: true`, an order id, and no contradiction to what was asked
    Rejected   a complete 4xx except 408; or 200 with `success: false`, unless it speaks of a duplicate or an order id
    Unknown    everything else, a body that cannot be read first of all: the order may live
    NotSent    never from an answer: only lanes.py can know that no byte left
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from attrs import frozen

from trading.messages.orders import OrderBody, OrderOutcome, OrderStyle, OutcomeKind, PlaceOrder, VenueStatus
from trading.values import Side, money, plain, utc_seconds, utc_text

DUPLICATE = "DUPLICATE_CLIENT_ORDER_ID"
NO_FAILURE = frozenset(
    {"", "UNKNOWN_FAILURE_REASON", "UNKNOWN_PREVIEW_FAILURE_REASON", "PREVIEW_UNKNOWN", "UNKNOWN_CANCEL_FAILURE_REASON"}
)
CANCEL_SUCCESS = "UNKNOWN_CANCEL_FAILURE_REASON"
TEXT_MAX = 200

STATUSES: Mapping[str, VenueStatus] = {
    "PENDING": VenueStatus.PENDING,
    "QUEUED": VenueStatus.PENDING,
    "OPEN": VenueStatus.OPEN,
    "EDIT_QUEUED": VenueStatus.OPEN,
    "CANCEL_QUEUED": VenueStatus.PENDING_CANCEL,
    "FILLED": VenueStatus.FILLED,
    "CANCELLED": VenueStatus.CANCELED,
    "EXPIRED": VenueStatus.EXPIRED,
    "FAILED": VenueStatus.REJECTED,
}


class Unreadable(ValueError):  # noqa: N818 -- read aloud: "raise Unreadable"
    """Inside this package only: what came in cannot be believed. The sentence names the field."""


# ---- reading values ----


def read_json(text: str | bytes) -> dict[str, Any]:
    """The object in `text`, numbers with a fraction as Decimal. Unreadable for anything else (HTML, null, lists, NaN)."""
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=_not_a_number)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise Unreadable(f"not JSON: {shortened(str(error))}") from None
    if not isinstance(found, dict):
        raise Unreadable(f"JSON of type {type(found).__name__}, not an object")
    return found


def _not_a_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def number(row: Mapping[str, Any], name: str) -> Decimal | None:
    """A finite Decimal, None for absent ("" and null are Coinbase's ways to say so). Unreadable for garbage and for floats gone wild."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise Unreadable(f"{name} is {shortened(repr(value))}, not a number")
    try:
        found = money(value)
    except ValueError:
        raise Unreadable(f"{name} is {shortened(repr(value))}, not a number") from None
    if found and not -40 <= found.adjusted() <= 40:
        raise Unreadable(f"{name} is {shortened(repr(value))}, beyond any price or size")
    return found


def required_number(row: Mapping[str, Any], name: str) -> Decimal:
    found = number(row, name)
    if found is None:
        raise Unreadable(f"{name} is missing")
    return found


def text(row: Mapping[str, Any], name: str) -> str:
    """The text under `name`, "" when absent. Unreadable for anything that is not text."""
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable(f"{name} is {shortened(repr(value))}, not text")
    if not value.isascii() and not value.encode("utf-8", "ignore").decode() == value:
        raise Unreadable(f"{name} holds half a character")
    return value


def required_text(row: Mapping[str, Any], name: str) -> str:
    found = text(row, name)
    if not found:
        raise Unreadable(f"{name} is missing or empty")
    return found


def flag(row: Mapping[str, Any], name: str, default: bool | None = None) -> bool:
    """True or false; the user channel spells them as text. Unreadable for anything else, and when missing without default."""
    value = row.get(name)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value in (None, "") and default is not None:
        return default
    raise Unreadable(f"{name} is {shortened(repr(value))}, neither true nor false")


def seconds(row: Mapping[str, Any], name: str) -> float | None:
    """Seconds since 1970 of an RFC 3339 text; None when absent or unreadable, and for the year 1 that means "none"."""
    value = row.get(name)
    if not isinstance(value, str) or not value or value.startswith("0001-"):
        return None
    try:
        return utc_seconds(value)
    except (ValueError, OverflowError, OSError):
        return None


def listed(answer: Mapping[str, Any], name: str) -> list[Any]:
    """The list under `name`, whatever it holds. Unreadable when it is missing, null or no list."""
    found = answer.get(name)
    if not isinstance(found, list):
        raise Unreadable(f"{name} is {type(found).__name__}, not a list of objects")
    return found


def rows(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of objects under `name`. Unreadable when it is missing, null or holds anything else."""
    found = listed(answer, name)
    if not all(isinstance(row, dict) for row in found):
        raise Unreadable(f"{name} is {type(found).__name__}, not a list of objects")
    return found


def shortened(long: str) -> str:
    one_line = " ".join(long.encode("utf-8", "replace").decode().split())
    return one_line if len(one_line) <= TEXT_MAX else one_line[: TEXT_MAX - 3] + "..."


_TOKEN = re.compile(r"(?:Bearer\s+)?eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}")
_PEM = re.compile(r"-----BEGIN.*?(?:-----END[A-Z ]*-----|$)", re.DOTALL)


def scrubbed(raw: str, secrets: Iterable[str] = ()) -> str:
    """`raw` without tokens, keys and the given secrets: a server may echo what it was sent, and logs are for ever."""
    for secret in secrets:
        if secret:
            raw = raw.replace(secret, "<hidden>")
    return _PEM.sub("<hidden>", _TOKEN.sub("<hidden>", raw))


def status_word(word: object) -> str:
    """Our word for the venue's order status; one that we do not know proves existence and nothing more."""
    return STATUSES.get(word.upper() if isinstance(word, str) else "", VenueStatus.UNKNOWN).value


# ---- orders out ----


def order_configuration(body: OrderBody) -> dict[str, dict[str, Any]]:
    """`{configuration: fields}` as the venue wants it: plain decimal text, never scientific."""
    size = {"base_size": plain(body.base_size)}
    limit = {**size, "limit_price": plain(body.limit_price)}
    match body.style:
        case OrderStyle.LIMIT_GTD:
            if body.end_time_s is None:
                raise ValueError(f"a good-till-date order for {body.product_id} needs end_time_s")
            end_time = utc_text(body.end_time_s)[:19] + "Z"
            return {"limit_limit_gtd": {**limit, "end_time": end_time, "post_only": body.post_only}}
        case OrderStyle.LIMIT_GTC:
            return {"limit_limit_gtc": {**limit, "post_only": body.post_only}}
        case OrderStyle.LIMIT_IOC:
            return {"sor_limit_ioc": limit}
        case OrderStyle.LIMIT_FOK:
            return {"limit_limit_fok": limit}
        case OrderStyle.MARKET_IOC:
            return {"market_market_ioc": size}


def order_request(client_order_id: str, body: OrderBody) -> dict[str, Any]:
    """The JSON of `POST /orders`. ValueError when the id is empty: the SDK would then make up one that nobody knows."""
    if not client_order_id:
        raise ValueError("an order without client_order_id cannot be found again; it is not built")
    return {"client_order_id": client_order_id, **preview_request(body)}


def preview_request(body: OrderBody) -> dict[str, Any]:
    """The JSON of `POST /orders/preview`: the same order without an id."""
    return {"product_id": body.product_id, "side": body.side.value, "order_configuration": order_configuration(body)}


# ---- answers in ----


@frozen
class Verdict:
    """What the answer to a placement proves. reason: the venue's code, or ours in lower case."""

    kind: OutcomeKind
    venue_order_id: str | None = None
    reason: str = ""
    detail: str = ""


def placed(status: int, content: str | bytes, client_order_id: str) -> Verdict:
    """Classify the complete answer to a `POST /orders`. status: HTTP. Never raises."""
    try:
        answer: dict[str, Any] | None = read_json(content)
        unread = ""
    except Unreadable as error:
        answer, unread = None, str(error)
    if 400 <= status < 500:
        reason = _refusal_reason(answer) if answer else ""
        detail = shortened(as_text(content))
        if status == 408 or (answer and _speaks_of_an_order(answer)):
            return Verdict(OutcomeKind.UNKNOWN, reason=reason or f"http_{status}", detail=detail)
        return Verdict(OutcomeKind.REJECTED, reason=reason or f"http_{status}", detail=detail)
    if answer is None:
        return Verdict(OutcomeKind.UNKNOWN, reason=f"http_{status}_unreadable", detail=unread)
    if not 200 <= status < 300:
        return Verdict(OutcomeKind.UNKNOWN, reason=f"http_{status}", detail=shortened(as_text(content)))
    try:
        if answer.get("success") is True:
            return _accepted(answer, client_order_id)
        if answer.get("success") is False and status == 200:
            return _refused(answer)
    except Unreadable as error:
        return Verdict(OutcomeKind.UNKNOWN, reason="unreadable", detail=str(error))
    return Verdict(OutcomeKind.UNKNOWN, reason="success_missing", detail=shortened(as_text(content)))


def _accepted(answer: Mapping[str, Any], client_order_id: str) -> Verdict:
    inner = answer.get("success_response")
    fields = inner if isinstance(inner, dict) else {}
    venue_order_id = text(fields, "order_id") or text(answer, "order_id")
    if not venue_order_id:
        return Verdict(OutcomeKind.UNKNOWN, reason="accepted_without_order_id")
    echoed = text(fields, "client_order_id")
    if echoed and echoed != client_order_id:
        return Verdict(OutcomeKind.UNKNOWN, reason="answer_about_another_order", detail=shortened(echoed))
    return Verdict(OutcomeKind.ACCEPTED, venue_order_id)


def _refused(answer: Mapping[str, Any]) -> Verdict:
    reason = _refusal_reason(answer) or "no_reason_given"
    inner = answer.get("error_response")
    detail = shortened(str(inner.get("message") or "")) if isinstance(inner, dict) else ""
    if _speaks_of_an_order(answer):
        # We post once: a duplicate, or an order id in a refusal, means that something of this id exists.
        return Verdict(OutcomeKind.UNKNOWN, reason=reason, detail=detail)
    return Verdict(OutcomeKind.REJECTED, reason=reason, detail=detail)


_REASONS = ("new_order_failure_reason", "preview_failure_reason", "error", "failure_reason")


def _reason_fields(answer: Mapping[str, Any]) -> list[str]:
    inner = answer.get("error_response")
    places = [inner, answer] if isinstance(inner, dict) else [answer]
    return [value for place in places for name in _REASONS if isinstance(value := place.get(name), str) and value]


def _refusal_reason(answer: Mapping[str, Any]) -> str:
    """Which of the fields is filled differs; the values that mean "none" are no reason unless nothing else is there."""
    given = _reason_fields(answer)
    return shortened(next((value for value in given if value not in NO_FAILURE), given[0] if given else ""))


def _speaks_of_an_order(answer: Mapping[str, Any]) -> bool:
    if any(DUPLICATE in value for value in _reason_fields(answer)):
        return True
    inner = answer.get("success_response")
    return bool(answer.get("order_id")) or (isinstance(inner, dict) and bool(inner.get("order_id")))


def as_text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode("utf-8", "replace")


def outcome(order: PlaceOrder, verdict: Verdict, *, sent_boot_s: float | None, answered_boot_s: float) -> OrderOutcome:
    return OrderOutcome(
        client_order_id=order.client_order_id,
        kind=verdict.kind,
        gateway_incarnation=order.gateway_incarnation,
        venue_order_id=verdict.venue_order_id,
        reason=verdict.reason,
        detail=verdict.detail,
        sent_boot_s=sent_boot_s,
        answered_boot_s=answered_boot_s,
    )


def canceled(content: str | bytes, asked: Iterable[str]) -> tuple[tuple[str, bool, str], ...]:
    """(venue order id, accepted, reason) of each order asked that the answer to a batch_cancel speaks of. Unreadable."""
    wanted = set(asked)
    found: dict[str, tuple[str, bool, str]] = {}
    for row in rows(read_json(content), "results"):
        venue_order_id = text(row, "order_id")
        if venue_order_id in wanted:
            accepted = row.get("success") is True
            reason = text(row, "failure_reason")
            found[venue_order_id] = (venue_order_id, accepted, "" if accepted else reason or "no_reason_given")
    return tuple(found.values())


def side(row: Mapping[str, Any], name: str = "side") -> Side:
    word = text(row, name).upper()
    if word not in Side.__members__:
        raise Unreadable(f"{name} is {shortened(repr(word))}, neither BUY nor SELL")
    return Side(word)
