"""Named openings of the synthetic market: what happens in the first half minute after the venue starts, every time.

A scenario is a table of moves (market.Move) with times in real seconds; at speed N they take N times as long in venue time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exchange.simulator.market import Move, move_from_json, percent

SCENARIOS: dict[str, tuple[dict[str, Any], ...]] = {
    "quiet": (),
    "opening": (
        # A sharp rise on heavy volume in a liquid product: 2.6 % at one stroke, then slowly on for as long as it takes until the
        # volume is seen, so that a post-only bid of whoever decides meets no falling ask and rests; then ever deeper dips, in
        # which it is hit, then a run that reaches any target up to 15 % above the entry, and a slow way back down.
        {
            "product_id": "SOL-USD",
            "after_s": 8.0,
            "for_s": 13.0,
            "volume_x": 900.0,
            "percent": [
                (0.001, 2.6), (4.5, 2.8), (5.5, 2.3), (6.3, 2.7), (7.2, 2.2), (8.0, 2.6), (9.0, 2.0), (10.0, 2.5), (11.0, 1.8),
                (12.0, 2.4), (13.0, 1.2), (14.5, 11.0), (17.0, 20.0), (90.0, 19.0), (900.0, 12.0), (5400.0, 0.0),
            ],
        },
        {"product_id": "SOL-USD", "after_s": 21.0, "for_s": 12.0, "volume_x": 40.0, "percent": []},
        # The same rise where the book is thin and wide: it must be denied, with its measured spread and depth.
        {
            "product_id": "DOGE-USD",
            "after_s": 11.0,
            "for_s": 120.0,
            "volume_x": 400.0,
            "depth_x": 0.01,
            "spread_bps": 120.0,
            "percent": [(3.0, 2.4), (5.0, 3.8), (60.0, 3.5), (1200.0, 0.0)],
        },
    ),
}  # fmt: skip


def scenario_moves(name: str, start_s: float, speed: float, product_ids: set[str]) -> list[Move]:
    """The moves of a named scenario, or of a JSON file with such a table. Raises ValueError with a sentence."""
    if name in SCENARIOS:
        rows: Any = SCENARIOS[name]
    elif name.endswith(".json") and Path(name).is_file():
        rows = json.loads(Path(name).read_text())
    else:
        raise ValueError(f"--scenario {name}: no such scenario; there are {', '.join(SCENARIOS)}, or a .json file")
    found = []
    for row in rows:
        if row["product_id"] not in product_ids:
            continue
        points = [[after * speed, percent(value)] for after, value in row.get("percent", ())]
        found.append(
            move_from_json(
                {**row, "start_s": start_s + row["after_s"] * speed, "points": points, "for_s": row["for_s"] * speed}
            )
        )
    return found
