"""The kill switch on real processes: by file, by command, by environment; engaged survives everything but a re-arming (I6)."""

from __future__ import annotations

import time

import pytest

from exchange.coinbase.fences import engage_kill_file
from telemetry.client import RefusedError
from tests.live.harness import RESTING, Bot, rest_something, trade_everywhere
from tests.support import eventually

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker


def _engaged(bot):
    status = bot.status()
    return bool(status and status["kill"] and status["kill"]["engaged"])


def test_by_file_orders_are_cancelled_entries_blocked_and_only_a_command_rearms(tmp_path):
    bot = Bot(tmp_path, *RESTING)
    try:
        bot.start().ready()
        rest_something(bot)
        (tmp_path / "KILL_SWITCH").touch()
        engaged_s = time.monotonic()
        eventually(bot.resting, lambda resting: not resting, 4.0)
        print(f"file to an empty book at the venue: {time.monotonic() - engaged_s:.2f} s")
        eventually(lambda: _engaged(bot), patience_s=2.0)
        posted = len(bot.orders())
        trade_everywhere(bot, wait=False)

        (tmp_path / "KILL_SWITCH").unlink()
        bot.kill_everything()
        bot.start().ready()
        assert _engaged(bot)
        assert bot.status()["trading_state"] == "HALTED"
        assert len(bot.orders()) == posted

        with pytest.raises(RefusedError, match="cause"):
            bot.ask("rearm", name="ann")
        assert _engaged(bot)
        bot.ask("rearm", name="ann", cause="looked at it")
        eventually(lambda: not _engaged(bot), patience_s=3.0)
        assert not (tmp_path / "KILL_SWITCH").exists()

        engage_kill_file(tmp_path / "run", cause="the desk is on fire", name="ann", source="panic")
        kill = eventually(bot.status, lambda status: status["kill"]["engaged"], 3.0)["kill"]
        assert (kill["cause"], kill["by"]) == ("the desk is on fire", "ann"), "what panic --reason said is kept"
        bot.ask("rearm", name="ann", cause="it is out")
        eventually(lambda: not _engaged(bot), patience_s=3.0)

        bot.ask("kill", name="bob", cause="drill")
        assert eventually(bot.status, lambda status: status["kill"]["engaged"], 3.0)["kill"]["cause"] == "drill"
        assert (tmp_path / "KILL_SWITCH").exists()
        assert bot.stop() == 0, bot.tail()
    finally:
        bot.clean_up()


def test_by_environment_at_start_nothing_is_ever_entered(tmp_path):
    bot = Bot(tmp_path, *RESTING)
    try:
        bot.start(env={"BULKHEAD_KILL_SWITCH": "1"}).ready()
        eventually(lambda: _engaged(bot), patience_s=3.0)
        bot.rise("BTC-USD", over_s=1.0)
        denied = eventually(
            lambda: [d for d in bot.ask("decisions")["decisions"] if d.get("code") == "kill_switch"], patience_s=10.0
        )
        print(f"denied: {denied[0]['text']}")
        assert bot.orders() == []
        assert bot.stop() == 0, bot.tail()
    finally:
        bot.clean_up()
