"""Named openings of the synthetic market: what happens in the first half minute after the venue starts.

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
        # A sharp rise on heavy volume in a liquid product: 3 % at one stroke, then teeth of a saw, each a slow rise and a drop at one
        # stroke to below the tooth before. A post-only bid meets no falling ask except over a drop, and two tries of one decision are
        # never both over one, unless each takes longer than half a tooth to the venue; the next drop hits it. Then a run that
        # reaches any target up to 13 % above the entry, and within ten minutes back to where the path is without it.
        {
            "product_id": "SOL-USD",
            "after_s": 8.0,
            "for_s": 14.0,
            "volume_x": 900.0,
            "percent": [
                (0.001, 3.0), (2.8, 3.35), (2.801, 2.85), (5.6, 3.2), (5.601, 2.7), (8.4, 3.05), (8.401, 2.55), (11.2, 2.9),
                (11.201, 2.4), (13.6, 2.7), (13.601, 1.2), (14.2, 1.3), (16.5, 17.5), (24.0, 17.0), (600.0, 0.0),
            ],
        },
        {"product_id": "SOL-USD", "after_s": 22.0, "for_s": 12.0, "volume_x": 40.0, "percent": []},
        # The same rise where the book is thin and wide: it must be denied, with its measured spread and depth.
        {
            "product_id": "DOGE-USD",
            "after_s": 11.0,
            "for_s": 120.0,
            "volume_x": 400.0,
            "depth_x": 0.01,
            "spread_bps": 120.0,
            "percent": [(3.0, 2.4), (5.0, 3.8), (60.0, 3.5), (600.0, 0.0)],
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
