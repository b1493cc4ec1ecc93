"""What people order, by name and cause: ban, unban, cancel, settle, flatten, adopt. Saved, answered, deduplicated by id."""

from __future__ import annotations

from decimal import Decimal

from attrs import evolve

from trading.ledger import Fill, fold
from trading.messages.control import ON_EXIT, CommandDone, OperatorOrder
from trading.messages.decisions import ExitPlan
from trading.messages.orders import BestBidAsk, QueryKind
from trading.oms_desk import Desk
from trading.oms_exits import begin_flatten, clear_own_buys
from trading.oms_orders import learn, unwanted, want_cancel
from trading.oms_positions import adopt_coins
from trading.oms_rowless import excuse_rowless
from trading.oms_rows import CommandRow, CooldownRow, Flow
from trading.order_states import OrderAbsent, OrderStatus
from trading.orders import Order
from trading.values import ZERO, Side, base_currency, derived_id, plain


def ordered(d: Desk, message: OperatorOrder) -> None:
    """Carry out, save, answer; the same id again gets the same answer."""
    if message.command_id.startswith(ON_EXIT):
        _flatten_on_exit(d, message)
        return
    known = d.book.commands.get(message.command_id)
    if known is not None:
        d.answer("operator", CommandDone(command_id=known.command_id, ok=known.ok, text=known.text))
        return
    args = dict(message.args)
    wanted = {
        "ban": ("symbol",),
        "unban": ("symbol",),
        "cancel": ("id",),
        "settle": ("id",),
        "adopt": ("symbol", "size"),
    }
    if missing := [name for name in wanted.get(message.verb, ()) if not args.get(name)]:
        done(d, message, False, f"{message.verb} wants {' and '.join(missing)}")
        return
    match message.verb:
        case "ban":
            done(d, message, *_ban(d, message, args))
        case "unban":
            done(d, message, *_unban(d, args))
        case "cancel":
            done(d, message, *_cancel(d, message, args))
        case "settle":
            done(d, message, *_settle(d, message, args))
        case "flatten":
            _flatten(d, message)
        case "adopt":
            _adopt(d, message, args)
        case _:
            done(
                d,
                message,
                False,
                f"oms has no command {message.verb!r}; it takes ban, unban, cancel, settle, flatten and adopt",
            )


def done(d: Desk, message: OperatorOrder, ok: bool, text: str) -> None:
    d.book.put_command(
        CommandRow(
            command_id=message.command_id,
            verb=message.verb,
            name=message.name,
            cause=message.cause,
            args=" ".join(f"{name}={value}" for name, value in message.args),
            ok=ok,
            text=text,
            at_s=d.now.venue_s,
        )
    )
    if not message.command_id.startswith(ON_EXIT):
        d.answer("operator", CommandDone(command_id=message.command_id, ok=ok, text=text))
    d.note("command", verb=message.verb, name=message.name, cause=message.cause, ok=ok, text=text)


def _ban(d: Desk, message: OperatorOrder, args: dict[str, str]) -> tuple[bool, str]:
    product_id, flag = args["symbol"], args.get("flag", "by hand")
    until_s = d.now.venue_s + float(args.get("seconds", d.settings.ban_s))
    d.book.put_cooldown(
        CooldownRow(
            product_id=product_id,
            kind="ban",
            until_s=until_s,
            reason=f"{flag}: {message.cause}",
            by=message.name,
            since_s=d.now.venue_s,
        )
    )
    for order in d.book.open_orders():
        if order.intent.product_id == product_id and order.intent.purpose == "entry":
            want_cancel(d, order, "ban")
    stranger = d.catalog is not None and product_id not in d.products
    return (
        True,
        f"{product_id} takes no entry for {(until_s - d.now.venue_s) / 3600:.0f} h ({flag}); "
        + ("it is not traded now, the ban holds if it ever is" if stranger else "its position keeps its exits"),
    )


def _unban(d: Desk, args: dict[str, str]) -> tuple[bool, str]:
    product_id = args["symbol"]
    if d.book.end_cooldown(product_id, "ban"):
        return True, f"{product_id} is not banned any more"
    return False, f"{product_id} is not banned"


def _find(d: Desk, text: str) -> Order | None:
    key = d.book.by_intent.get(text, text)
    return d.book.find(key, text)


def _cancel(d: Desk, message: OperatorOrder, args: dict[str, str]) -> tuple[bool, str]:
    wanted = args["id"]
    orders = d.book.open_orders() if wanted == "all" else [o for o in [_find(d, wanted)] if o is not None]
    if not orders:
        return wanted == "all", "no order is open" if wanted == "all" else f"no order has the id {wanted}"
    living = [o for o in orders if not o.status.terminal]
    for order in living:
        want_cancel(d, order, f"operator:{message.name}")
    if not living:
        return False, f"order {wanted} is over: {orders[0].status}"
    return True, f"{len(living)} order(s) are being cancelled, each until the venue says it is over"


def _settle(d: Desk, message: OperatorOrder, args: dict[str, str]) -> tuple[bool, str]:
    order = _find(d, args["id"])
    if order is None:
        return False, f"no order has the id {args['id']}"
    key = order.intent.client_order_id
    if order.status not in (OrderStatus.UNKNOWN, OrderStatus.SUBMITTED) or order.existed:
        return False, f"order {key} is {order.status}, which is known; only what is unknown can be settled by hand"
    learn(d, order, OrderAbsent(at_s=d.now.venue_s, reason=f"settled by {message.name}: {message.cause}"))
    return (
        True,
        f"order {key} is taken as not placed, by {message.name}; if the venue shows it after all, it is booked and cancelled",
    )


def _flatten(d: Desk, message: OperatorOrder) -> None:
    if d.drain_run is not None:
        done(d, message, False, "the bot is stopping; positions stay with their exits recorded")
        return
    if d.gateway is None:
        return  # not answered yet: the operator repeats it
    if message.command_id in d.flattens:
        if d.flattens[message.command_id][1] in d.queries:
            return
        del d.flattens[message.command_id]
    again = message.command_id in d.flatten_orders
    d.flatten_orders[message.command_id] = message
    if not again and clear_own_buys(d, message):
        return  # they get a second to be gone: the operator repeats it
    if not begin_flatten(d, message):
        if any(order.intent.side is Side.SELL and order.cancel_reason for order in d.book.open_orders()):
            return  # an exit that is being cancelled (by a kill) still holds the coins: the operator repeats it
        done(d, message, True, "there is nothing to sell: no position above dust that is not already being left")


def _flatten_on_exit(d: Desk, message: OperatorOrder) -> None:
    """The bot is about to stop: no entry any more, and whatever can be sold is, by as many orders as it takes. Main repeats it
    under new ids and is answered when nothing above dust is held and nothing sells any more.
    """
    again = d.leaving
    if not again:
        d.leaving = d.changed = True
        for order in d.book.open_orders():
            if why := unwanted(d, order.intent):
                want_cancel(d, order, why)
    if d.gateway is None or d.drain_run is not None or d.flattens:
        return
    if not again and clear_own_buys(d, message):
        return
    if begin_flatten(d, message):
        d.flatten_orders[message.command_id] = message
    elif not any(order.intent.side is Side.SELL for order in d.book.open_orders()):
        d.answer("main", CommandDone(command_id=message.command_id, ok=True, text="nothing is left to sell"))


def flattened(d: Desk) -> None:
    """The orders of a flatten were placed in this handle, or its prices did not come (the operator asks again)."""
    for command_id, found in d.flattened.items():
        if found.sent or found.closed:
            left = [*found.kept, *found.closed]
            text = f"selling {', '.join(found.sent) or 'nothing'}"
            text += f"; NOT sold: {', '.join(left)}" if left else ""
            text += "; flatten again" if found.kept else ""
            done(d, d.flatten_orders.pop(command_id), not left, text)
    d.flattened = {}


def _adopt(d: Desk, message: OperatorOrder, args: dict[str, str]) -> None:
    product_id, size = args["symbol"], Decimal(args["size"])
    currency = base_currency(product_id)
    if d.balances is None:
        return  # not answered yet: what is foreign is known after the first balance pass
    if _not_foreign(d, message, currency, size):
        return
    if "price" in args:
        adopt_at(d, message, Decimal(args["price"]))
        return
    if d.gateway is not None and message.command_id not in d.adoptions:
        d.adoptions[message.command_id] = message
        d.query("adopt", message.command_id, QueryKind.BEST_BID_ASK, product_ids=(product_id,))


def _not_foreign(d: Desk, message: OperatorOrder, currency: str, size: Decimal) -> bool:
    """Answers and is true when the account does not hold so much beside what the bot has."""
    foreign = _foreign(d, currency)
    if size > foreign:
        text = f"the account holds {plain(foreign)} {currency} that are not the bot's; {plain(size)} cannot be adopted"
        done(d, message, False, text)
    return size > foreign


def _foreign(d: Desk, currency: str) -> Decimal:
    """Of the last complete page, what was foreign then and is not in the book now: coins that we have sold since are no one's,
    and two adoptions by one page are not given the same coins.
    """
    if d.balances is None:
        return ZERO
    now = d.balances.totals.get(currency, ZERO) - d.book.booked_by_currency().get(currency, ZERO)
    return max(ZERO, min(now, d.balances.gap.foreign.get(currency, ZERO)))


def adoption_priced(d: Desk, command_id: str, items: tuple[object, ...]) -> None:
    message = d.adoptions.pop(command_id, None)
    prices = [item.bid for item in items if isinstance(item, BestBidAsk)]
    if message is not None and prices and command_id not in d.book.commands:
        adopt_at(d, message, prices[0])


def adopt_at(d: Desk, message: OperatorOrder, price: Decimal) -> None:
    """Coins of others become a position of the bot, valued at `price`, with the default exit plan."""
    args = dict(message.args)
    product_id, size = args["symbol"], Decimal(args["size"])
    if _not_foreign(d, message, base_currency(product_id), size):
        return
    plan = ExitPlan(
        stop_pct=Decimal(args.get("stop_pct", d.settings.adopt_stop_pct)),
        target_pct=Decimal(args.get("target_pct", d.settings.adopt_target_pct)),
        hold_s_max=d.settings.adopt_hold_s,
    )
    bought = fold(fill for fill in d.book.fills.values() if fill.product_id == product_id and fill.position_id is None)
    ours = max(ZERO, _not_adopted_yet(d, product_id, bought.size))
    given = (message.name, message.cause, max(ZERO, size - ours) * price)
    position_id = _take_in(d, message.command_id, product_id, size, price, plan, *given)
    d.ask_pass()
    done(d, message, True, f"{plain(size)} of {product_id} are now position {position_id}, entered at {plain(price)}")


def _take_in(
    d: Desk, event_id: str, product_id: str, size: Decimal, price: Decimal, plan: ExitPlan, name: str, cause: str,
    worth_usd: Decimal,
) -> str:  # fmt: skip
    """worth_usd: what the bot is the richer for; zero for what was its own before a book was lost."""
    position_id = derived_id("adopted", event_id)
    d.rowless.pop(product_id, None)  # what orders without a row have bought is a position's now
    d.book.adopt_position(position_id, product_id, plan, name, price, d.now.venue_s)
    adopt_coins(d, d.book.positions[position_id], size, price, event_id)
    d.book.put_flow(
        Flow(
            flow_id=derived_id("adoption", event_id),
            currency=base_currency(product_id),
            size=size,
            usd=worth_usd,
            kind="adoption",
            cause=f"{name}: {cause}",
            at_s=d.now.venue_s,
            position_id=position_id,
        )
    )
    return position_id


def adoption_id(d: Desk) -> str:
    """The command of `run --adopt-from-venue` in this run."""
    return f"adopt-from-venue:{d.me[0]}"


def adopt_from_venue(d: Desk, *, to_the_end: bool) -> None:
    """`run --adopt-from-venue`: what orders of ours bought and did not sell becomes a position again.

    The orders were found by name in the venue's history and their fills are booked as foreign; a position gets their
    average price and the default plan, and never more than the account still holds beside what the book knows. It is done
    at each pass until one that began when nothing of a lost book could come to light any more (`to_the_end`).
    """
    book = d.book
    if not book.meta.adopting or d.balances is None:
        return
    if book.unbooked or any(o.intent.external for o in book.open_orders()):
        return  # not everything is known yet; the next pass comes here again
    by_product: dict[str, list[Fill]] = {}
    for fill in book.fills.values():
        if fill.position_id is None:
            by_product.setdefault(fill.product_id, []).append(fill)
    taken = []
    for product_id, fills in by_product.items():
        books = fold(fills)
        book.keep_closes(derived_id("before", product_id), product_id, books.closes)
        size = _not_adopted_yet(d, product_id, books.size)
        if size > ZERO:
            plan = ExitPlan(
                stop_pct=d.settings.adopt_stop_pct,
                target_pct=d.settings.adopt_target_pct,
                hold_s_max=d.settings.adopt_hold_s,
            )
            event_id = f"{adoption_id(d)}:{product_id}:{len(book.flows)}"  # one of its own for each: flows only grow
            _take_in(d, event_id, product_id, size, books.average_price, plan, "run", "--adopt-from-venue", ZERO)
            taken.append(f"{product_id} {plain(size)} at {plain(books.average_price)}")
    text = f"positions rebuilt from the venue: {', '.join(taken) or 'none'}"
    if adoption_id(d) not in book.commands:
        message = OperatorOrder(command_id=adoption_id(d), verb="adopt", name="run", cause="--adopt-from-venue")
        done(d, message, True, text)
        d.ask_pass()
    elif taken:
        d.note("command", verb="adopt", name="run", cause="--adopt-from-venue", ok=True, text=text)
        d.ask_pass()
    if to_the_end:
        book.put_meta(evolve(book.meta, adopting=False))
        excuse_rowless(d)


def _not_adopted_yet(d: Desk, product_id: str, bought: Decimal) -> Decimal:
    """Of what our orders bought: neither adopted before, by whomever, nor more than is in the account beside the book."""
    currency = base_currency(product_id)
    adopted = sum((f.size for f in d.book.flows.values() if f.kind == "adoption" and f.currency == currency), ZERO)
    return min(bought - adopted, _foreign(d, currency))
