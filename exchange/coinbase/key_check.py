"""Why an API key may not open positions, pure. A key that can move money out has no business in a trading bot."""

from __future__ import annotations

from trading.messages.orders import Account
from trading.values import account_tag

KeyFault = tuple[str, str]
"""(fingerprint of the Condition, sentence with the way out)."""

NOT_CHECKED = "catalog:key_not_checked"
CAN_TRANSFER = "catalog:key_can_transfer"
CANNOT_TRADE = "catalog:key_cannot_trade"
OTHER_ACCOUNT = "catalog:other_account"
FINGERPRINTS = (CAN_TRANSFER, CANNOT_TRADE, OTHER_ACCOUNT)
"""Those that a person must hear of; "not checked yet" is over in a moment or told as an unanswered question."""


def key_faults(account: Account | None, expected_tag: str) -> tuple[KeyFault, ...]:
    """() for a good key. account: None while the venue has not told; expected_tag: of `run/account`, "" when not known."""
    if account is None:
        return ((NOT_CHECKED, "key not checked yet"),)
    found: list[KeyFault] = []
    if account.can_transfer:
        found.append((CAN_TRANSFER, "this key can transfer money out; make one without the transfer permission"))
    if not account.can_trade:
        found.append((CANNOT_TRADE, "this key may not trade; give it the trade permission"))
    tag = account_tag(account.portfolio_uuid)
    if expected_tag and tag != expected_tag:
        text = (
            f"the key is of another account (tag {tag}) than this data dir (tag {expected_tag}); "
            "use another --data-dir for it"
        )
        found.append((OTHER_ACCOUNT, text))
    return tuple(found)
