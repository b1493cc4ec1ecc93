"""The book is deleted beside a dead bot, by whoever tidies up: refused, then rebuilt from the venue, with entries waiting."""

from __future__ import annotations

import pytest

from tests.live.harness import Bot, hold_something
from tests.support import eventually

pytestmark = pytest.mark.xdist_group("live")

SHORT = ("oms.settle.ioc_horizon_s=2.0", "oms.settle.lag_s=1.0")


@pytest.fixture
def bot(tmp_path):
    bot = Bot(tmp_path / "bot")
    yield bot
    bot.clean_up()


def _sizes(status):
    return {row["product_id"]: row["size"] for row in status["positions"]}


def test_a_deleted_book_is_refused_then_rebuilt_and_entries_wait_for_what_it_may_have_had_on_its_way(bot):
    bot.start().ready()
    hold_something(bot)
    bot.ask("pause", name="ann", cause="the disk is full of something")
    held = _sizes(bot.settled())
    bot.kill_everything()
    for path in bot.data_dir.glob("bulkhead.db*"):
        path.unlink()
    assert bot.start().wait(15.0) == 3
    assert "--adopt-from-venue" in bot.tail()

    bot.start("--adopt-from-venue")
    found = eventually(bot.status, lambda status: status and status["positions"], 20.0, 0.1)
    assert _sizes(found) == held
    assert found["recovery"] == "orders_known"
    assert found["trading_state"] == "REDUCING"
    assert any("begun in the place of a lost one" in condition["text"] for condition in found["conditions"])
    assert bot.stop() == 1, "what a lost book had on its way may still come"

    bot.sets += SHORT
    bot.start().ready()
    again = bot.settled()
    assert _sizes(again) == held
    assert not any("lost one" in condition["text"] for condition in again["conditions"])
    assert bot.stop() == 0, bot.tail()
