"""The read models of operator and console: what they fold and where their quotes come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actors.market import SLOTS
from actors.plan import RunPlan
from exchange.slots import SlotReader
from telemetry.read_model import ReadModel
from trading.messages.market import Quote


def quotes_of(plan: RunPlan) -> Callable[[], Mapping[str, Quote]]:
    """Reads the newest quote of every slot there is, at each call."""
    folder = plan.run_folder / SLOTS
    reader = SlotReader(folder)

    def quotes() -> Mapping[str, Quote]:
        found = {path.stem: reader.get(path.stem) for path in folder.glob("*.slot")}
        return {product_id: quote for product_id, quote in found.items() if quote is not None}

    return quotes


def read_model(plan: RunPlan, quotes: Callable[[], Mapping[str, Quote]]) -> ReadModel:
    return ReadModel(
        config_hash=plan.config_hash,
        env=plan.env,
        mode=plan.mode,
        market=plan.market,
        quotes=quotes,
        effective_config=plan.effective_config,
    )
