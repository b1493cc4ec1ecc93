"""Whose account a data dir trades: known from its first successful start on, and traded by one bot of this host."""

from __future__ import annotations

import json
from pathlib import Path

from actors.clock import boot_s
from actors.plan import RunPlan
from actors.starting import ACCOUNT, UNSAFE, USAGE, StartRefused
from exchange.coinbase.asking import NoAnswerError
from exchange.coinbase.sweep import ask_tag
from state import db
from state.files import write_durably
from state.locks import AccountLock, LockedError


def known_tag(run_folder: Path) -> str:
    """The account that this data dir trades, "" before its first successful start."""
    try:
        return str(json.loads((run_folder / ACCOUNT).read_text())["tag"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def account_tag(plan: RunPlan, limit_s: float) -> str:
    """The tag: stored, else asked of the venue and stored. Raises StartRefused when it cannot be known, or the book's is another."""
    stored = known_tag(plan.run_folder)
    if stored:
        _check_book(plan, stored)
        return stored
    key = plan.key()
    if key is None:
        raise StartRefused("there is no API key: set COINBASE_API_KEY and COINBASE_API_SECRET", USAGE)
    try:
        tag = ask_tag(plan.where(), key, boot_s() + limit_s)
    except NoAnswerError as error:
        sentence = (
            f"the venue did not tell whose key this is ({error}), and this data dir has not asked before; try again"
        )
        raise StartRefused(sentence, UNSAFE) from error
    _check_book(plan, tag)
    write_durably(plan.run_folder / ACCOUNT, json.dumps({"tag": tag}).encode())
    return tag


def _check_book(plan: RunPlan, tag: str) -> None:
    """Positions of another account would be cut to what this one holds, or sold from what its owner holds here."""
    other = db.other_account(plan.data_dir, tag)
    if other:
        sentence = (
            f"{plan.data_dir / db.MAIN_STORE} is the book of another account (tag {other}) than this data dir trades (tag {tag}): "
            "put a copy of its own back, or choose another --data-dir"
        )
        raise StartRefused(sentence, UNSAFE)


def lock_account(tag: str) -> AccountLock:
    try:
        return AccountLock(tag)
    except LockedError as error:
        raise StartRefused(str(error), UNSAFE) from error
