"""What one run is, complete and frozen, as every process of it knows: made once by main before anything is forked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, frozen

from config.schema import BotSettings
from exchange.coinbase.endpoints import Endpoints
from exchange.coinbase.jwt import ApiKey
from trading.publish import Jitter

T = TypeVar("T")

VENUE_FOLDER, VENUE_LINE = "venue", "run/venue.json"
KEY_NAME_ENV, KEY_SECRET_ENV = "COINBASE_API_KEY", "COINBASE_API_SECRET"


@frozen(kw_only=True)
class EmbeddedVenue:
    """The simulated venue that main starts: `python -m <module>` with further arguments.

    module: exchange.simulator, or exchange.paper, whose market is Coinbase's own public feed.
    """

    options: tuple[str, ...] = ()
    module: str = "exchange.simulator"


@frozen(kw_only=True)
class RunPlan:
    """config: composed settings, one attribute per role (missing ones take their class's defaults).

    data_dir: absolute. market: synthetic, coinbase, or the folder of recorded candles. endpoints: where the venue is;
    None until the embedded venue has told. venue: None when somebody else runs it. run_number, tag: known from start on.
    with_guardian False: a guardian runs as a service of its own (supervisord). run_for_s: None runs until stopped.
    page_port: of page and metrics on loopback; 0: any free one, None: no page. record_told: machines write down what
    they hear (actors/told.py). strategies_dir: a folder of further strategies.
    """

    data_dir: Path
    env: str
    mode: str
    market: str = "synthetic"
    speed: float = 1.0
    config: Any = None
    config_hash: str = ""
    effective_config: Any = field(default=None, repr=False)
    endpoints: Endpoints | None = None
    venue: EmbeddedVenue | None = None
    products: tuple[str, ...] = ("BTC-USD", "ETH-USD", "SOL-USD")
    run_for_s: float | None = None
    flatten_on_exit: bool = False
    fresh: bool = False
    adopt_from_venue: bool = False
    with_guardian: bool = True
    page_port: int | None = 0
    run_number: int = 0
    tag: str = ""
    kill_reason: str = ""
    record_told: bool = False
    strategies_dir: Path | None = None

    @property
    def run_folder(self) -> Path:
        return self.data_dir / "run"

    @property
    def venue_folder(self) -> Path:
        return self.data_dir / VENUE_FOLDER

    def section(self, name: str, default: Callable[[], T]) -> T:
        """The settings of a role: the configuration's section of that name, else `default()`."""
        found = getattr(self.config, name, None)
        return default() if found is None else found

    def jitter(self) -> Jitter:
        bot = self.section("bot", BotSettings)
        return Jitter(seed=f"{self.tag}:{bot.seed}:", pct=bot.jitter_pct, paces=True)

    def where(self) -> Endpoints:
        """The venue's endpoints as they are now: an embedded venue may have come back on another port."""
        if self.venue is None:
            if self.endpoints is None:
                raise ValueError("this run has neither endpoints nor an embedded venue")
            return self.endpoints
        return Endpoints.simulated(venue_line(self.data_dir))

    def listed(self, products: Iterable[str]) -> tuple[str, ...]:
        """Those of `products` that this venue has; a real one is believed to have all."""
        if self.venue is None:
            return tuple(products)
        known = venue_line(self.data_dir).get("products")
        return tuple(products) if known is None else tuple(name for name in products if name in known)

    def key(self) -> ApiKey | None:
        """The API key: of the embedded venue from its contract line, else from the environment; None when there is none."""
        if self.venue is not None:
            line = venue_line(self.data_dir)
            return ApiKey(str(line["api_key"]), str(line["api_secret"]))
        name, secret = os.environ.get(KEY_NAME_ENV, ""), os.environ.get(KEY_SECRET_ENV, "")
        return ApiKey(name, secret) if name and secret else None


def venue_line(data_dir: Path) -> dict[str, Any]:
    """The contract line that the embedded venue printed last. Raises OSError or ValueError."""
    found = json.loads((data_dir / VENUE_LINE).read_text())
    if not isinstance(found, dict):
        raise ValueError(f"{data_dir / VENUE_LINE} holds no contract line")
    return found
