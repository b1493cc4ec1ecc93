"""The rule that approves an exit: it may only reduce what the bot holds (protocol section 1 rule 4, section 3 rule 7).

size <= position as seen - leaves of exits that are open or UNKNOWN. An UNKNOWN exit must not lock the door for ever:

* No foreign coins worth more than dust, by the complete balance page that the exit was made by and by the newest one:
  after 5 s it stops counting, because the venue itself refuses to sell what is gone. The newest page alone says nothing:
  when the exit has sold unseen, the owner's coins look like ours on it; and more than there was is a deposit.
* Foreign coins beside ours: the venue would sell those. Such exits die at their end_time; one counts until a complete ask
  after end_time + 5 s showed it absent and the balance of the coin is what it was: a deposit that came in between would
  hide the drop.

At most 3 UNKNOWN exits stand per position; a further one only after an ask was answered since the last was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from attrs import frozen

from trading.values import ZERO

UNKNOWN_EXITS_MAX = 3
UNKNOWN_COUNTS_S = 5.0


@frozen(kw_only=True)
class StandingExit:
    """One exit or flatten of a position that is not proved over.

    leaves_size: base units that may still sell. rests: good-till-date, not IOC. made_boot_s: when its intent was saved.
    absent_after_death_boot_s: when a complete ask, made after end_time + 5 s, showed it absent; None until then.
    asked_boot_s: the last complete ask of it that was answered. balance_before: total of the coin when it was made, by the
    last complete page and what was bought and sold since; None when there was none. alone: that page had no foreign ones.
    """

    leaves_size: Decimal
    unknown_since_boot_s: float | None
    made_boot_s: float
    rests: bool
    absent_after_death_boot_s: float | None = None
    asked_boot_s: float | None = None
    balance_before: Decimal | None = None
    alone: bool = False


@frozen(kw_only=True)
class Holdings:
    """What the account holds of the coin by the last complete balance page. foreign_is_dust: not worth selling."""

    foreign_is_dust: bool
    total: Decimal
    asked_boot_s: float


def counts(exit_: StandingExit, holdings: Holdings | None, boot_s: float) -> bool:
    """Whether the leaves of `exit_` still count against the position."""
    if exit_.unknown_since_boot_s is None:
        return True
    if holdings is None or exit_.balance_before is None:
        return True
    if exit_.alone and holdings.foreign_is_dust and holdings.total <= exit_.balance_before:
        return boot_s - exit_.unknown_since_boot_s < UNKNOWN_COUNTS_S
    if not exit_.rests or exit_.absent_after_death_boot_s is None:
        return True
    # A page from before the ask says nothing about a sale that happened in between.
    return holdings.asked_boot_s < exit_.absent_after_death_boot_s or holdings.total != exit_.balance_before


def reducible_size(
    seen_size: Decimal, exits: Iterable[StandingExit], holdings: Holdings | None, boot_s: float
) -> Decimal:
    """Base units that one more exit may sell; never negative."""
    taken = sum((e.leaves_size for e in exits if counts(e, holdings, boot_s)), ZERO)
    return max(ZERO, seen_size - taken)


def too_many_unknown(exits: Iterable[StandingExit]) -> bool:
    """True while no further exit may be made: 3 or more are UNKNOWN and no ask was answered since the last of them."""
    unknown = [e for e in exits if e.unknown_since_boot_s is not None]
    if len(unknown) < UNKNOWN_EXITS_MAX:
        return False
    newest = max(e.made_boot_s for e in unknown)
    return not any(e.asked_boot_s is not None and e.asked_boot_s > newest for e in unknown)
