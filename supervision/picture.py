"""A tree as a picture for people: one line per child, its numbers beside it."""

from __future__ import annotations

from supervision.messages import ChildRow, TreeSnapshot

HEAD = ("state", "pid", "incarnation", "restarts", "mailbox", "memory", "uptime", "reason")


def draw(snapshot: TreeSnapshot) -> str:
    """The snapshot as text: branches, then state, pid, incarnation, restarts in the window, mailbox age, memory, uptime, reason."""
    rows = [("root", *("" for _ in HEAD))]
    below: dict[str, list[ChildRow]] = {}
    for row in snapshot.children:
        below.setdefault(row.supervisor, []).append(row)

    def branch(supervisor_id: str, indent: str) -> None:
        children = below.get(supervisor_id, [])
        for child in children:
            last = child is children[-1]
            rows.append((f"{indent}{'└─' if last else '├─'} {child.id}", *_cells(child)))
            branch(child.id, indent + ("   " if last else "│  "))

    branch("root", "")
    table = [("", *HEAD), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def _cells(child: ChildRow) -> tuple[str, ...]:
    return (
        child.state,
        "-" if child.pid is None else str(child.pid),
        "-" if child.incarnation is None else f"{child.incarnation[0]}.{child.incarnation[1]}",
        str(child.restarts),
        f"{child.mailbox_age_s * 1000:.1f} ms",
        f"{child.rss_bytes / (1 << 20):.1f} MB",
        _lasted(child.uptime_s),
        child.reason.strip().rpartition("\n")[2][:80],
    )


def _lasted(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
