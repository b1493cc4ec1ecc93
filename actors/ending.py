"""After the conductor has left: helpers end in their order, and people hear what was cancelled, kept and listed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from actors.conducting import Conducting
from actors.guarding import GuardianProcess
from actors.venue import VenueProcess
from actors.views import View
from state import db
from state.behind import Behind
from state.locks import AccountLock
from telemetry.client import PAGE_FILE, SOCKET_NAME
from trading.messages.control import Leave

BOOK_S_MAX = 2.0


def end(
    conducting: Conducting,
    leave: Leave,
    venue: VenueProcess | None,
    guardian: GuardianProcess | None,
    account: AccountLock,
    view: View,
) -> int:
    conducting.requests.finish()
    conducting.record.close()
    if guardian is not None and leave.exit_code == 0:
        guardian.finish()
    if venue is not None and (leave.exit_code == 0 or conducting.plan.fresh):
        venue.stop()
    account.release()
    for gone in (SOCKET_NAME, PAGE_FILE):  # whoever finds them would ask a bot that has left
        with suppress(OSError):  # a disk that has turned read-only keeps nobody from his last lines
            (conducting.plan.data_dir / gone).unlink(missing_ok=True)
    counts = conducting.counts
    summary = {
        "entries": counts["entries"],
        "exits": counts["exits"],
        "denied": counts["denied"],
        "fills": counts["fills"],
        "orders_left": len(leave.listed),
        "processes_left": len(conducting.left_pids),
        "exit": leave.exit_code,
    }
    view.close(summary, _last_lines(leave, _positions(conducting.plan.data_dir)))
    return leave.exit_code


def _positions(data_dir: Path) -> list[str]:
    """What the book holds, unless its disk stalls: nobody's last lines wait for that."""
    found: list[str] = []
    behind = Behind()
    behind.do(lambda: found.extend(db.positions(data_dir)))
    return list(found) if behind.finish(BOOK_S_MAX) else ["what cannot be read now (the book does not answer)"]


def _last_lines(leave: Leave, positions: list[str]) -> list[str]:
    listed = ", ".join(leave.listed) or "none of ours"
    lines = [
        f"canceled: {', '.join(leave.canceled) or 'nothing was open'}",
        f"kept: {', '.join((*positions, *leave.kept)) or 'no positions'}",
        f"the venue lists: {listed}" + ("" if not leave.live_possible else " (orders may be live)"),
    ]
    if leave.unknown:
        lines.append(f"outcome unknown: {', '.join(leave.unknown)}")
    return [*lines, f"exit {leave.exit_code}: {leave.reason}"]
