"""Tables stay readable where there is little room, and a pipe gets everything."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli import ctl_questions, tables
from cli.tables import LAST_COLUMNS_MIN, fitting, show, table

COLUMNS = (("client order id", "id", 0), ("at", "at", 2), ("fee USD", "fee", 3), ("size", "size", 1), ("why", "why", 0))
ROWS = [
    {
        "id": "bh-akec-5efrlyp63zmvjbbcxzm5lntzle",
        "at": "2026-11-30T17:12:02.500000Z",
        "fee": "0.34962265",
        "size": "0.53219877",
        "why": "exit because of a target that was reached after a long time",
    }
]


def drawn(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table(ROWS, COLUMNS, width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [66, 70, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_only_the_last_column_folds(width: int) -> None:
    lines = drawn(width)
    assert max(map(len, lines)) <= width
    assert any("bh-akec-5efrlyp63zmvjbbcxzm5lntzle" in line for line in lines), "an id that is cut cannot be copied"
    assert "…" not in "\n".join(lines)


def test_the_highest_rank_goes_first_and_what_was_left_out_is_named() -> None:
    widths = {"id": 34, "at": 14, "fee": 10, "size": 10, "why": 60}
    enough = 34 + 14 + 10 + 10 + LAST_COLUMNS_MIN + 4 * 2
    assert fitting(COLUMNS, widths, enough) == list(COLUMNS)
    assert [key for _, key, _ in fitting(COLUMNS, widths, enough - 1)] == ["id", "at", "size", "why"]
    assert [key for _, key, _ in fitting(COLUMNS, widths, 10)] == ["id", "why"]
    assert "left out at 80 columns: at, fee USD" in drawn(80)[-1]


def test_what_is_always_shown_is_folded_not_lost_where_there_is_no_room_for_it() -> None:
    console = Console(file=io.StringIO(), width=30, color_system=None)
    console.print(table(ROWS, (("id", "id", 0), ("size", "size", 0)), 30))
    first_column = [line.split()[0] for line in console.file.getvalue().splitlines()[1:]]  # type: ignore[attr-defined]
    assert len(first_column) > 1
    assert "".join(first_column) == ROWS[0]["id"]


def test_a_pipe_gets_every_column_unfolded_with_whole_times_and_no_blanks_at_the_end(capsys) -> None:
    show({}, False, table(ROWS, COLUMNS, None))
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split("  ")[0] == "client order id"
    for value in ROWS[0].values():
        assert value in row
    assert row == row.rstrip()


def test_a_text_with_brackets_is_shown_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table([{"why": "[bold]not markup[/oops]"}], (("why", "why", 0),), 80))
    assert "[bold]not markup[/oops]" in console.file.getvalue()  # type: ignore[attr-defined]


def child(role: str, supervisor: str, **changes: object) -> dict[str, object]:
    return {
        "role": role,
        "supervisor": supervisor,
        "state": "running",
        "pid": 123456,
        "incarnation": (12, 12434_461_000_000),
        "restarts": 0,
        "mailbox_age_s": 0.0123,
        "rss_bytes": 65e6,
        "uptime_s": 400.0,
        "reason": None,
        **changes,
    }


def test_the_tree_stands_in_80_columns_with_each_process_below_its_supervisor(capsys, monkeypatch) -> None:
    children = [
        child("oms", "trading", state="restarting", reason="Traceback\n  line\nOSError: no space left on device"),
        child("trading", ""),
        child("symbols", ""),
        child("symbol:DOGE-USD", "symbols"),
    ]
    monkeypatch.setattr(ctl_questions, "ask", lambda *_: {"children": children})
    monkeypatch.setattr(tables, "terminal_width", lambda: 80)
    ctl_questions.tree()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line[:17].rstrip() for line in lines if "123456" in line] == [
        "trading",
        "  oms",
        "symbols",
        "  symbol:DOGE-USD",
    ]
    assert lines[-1] == "3 of 4 processes run"
    assert "OSError: no space left on device" in " ".join(" ".join(lines).split())


def test_a_breaker_says_on_which_side_of_its_limits_it_opens_and_closes() -> None:
    assert ctl_questions.limits({"value": "1", "opens_at": "0.5", "closes_at": "1"}) == {
        "value": "1",
        "opens_at": "≤ 0.5",
        "closes_at": "≥ 1",
    }
    assert ctl_questions.limits({"opens_at": "10", "closes_at": "5"}) == {"opens_at": "≥ 10", "closes_at": "≤ 5"}
