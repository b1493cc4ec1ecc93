"""A real bot tells what it bought to the channels of news, and to those of alerts it does not."""

from __future__ import annotations

import os
import signal

import pytest

from state.book import books
from tests.live.harness import RESTING, Bot, hold_something
from tests.receiver import Receiver
from tests.support import eventually

pytestmark = pytest.mark.xdist_group("live")  # real bots: one after the other, on one worker


def test_a_purchase_reaches_the_channel_of_news_once_and_wakes_nobody(tmp_path):
    bot = Bot(tmp_path, *RESTING)
    with Receiver() as news, Receiver() as alarms:
        try:
            bot.start(env={"BULKHEAD_NEWS_URLS": news.url, "BULKHEAD_ALERT_URLS": alarms.url}).ready()
            hold_something(bot)
            first = eventually(lambda: news.heard, bool, 20.0)[0]
            os.kill(bot.client.ask("pid", {"role": "alerts"})["pid"], signal.SIGKILL)
            bot.client.ask("flatten", {"name": "ann", "cause": "to have a sale"}, timeout_s=15.0)
            eventually(lambda: [one["title"] for one in news.heard], lambda titles: " sold, " in str(titles), 30.0)
            assert bot.stop() == 0
        finally:
            bot.clean_up()
        titles = [one["title"] for one in news.heard]
        product = first["title"].removeprefix("Bulkhead: ").removesuffix(" bought")
        assert first["title"] == f"Bulkhead: {product} bought"
        assert first["type"] == "info"
        assert product in {position["product_id"] for position in books(tmp_path).positions.values()}
        texts = [(one["title"], one["message"]) for one in news.heard]
        assert len(set(texts)) == len(texts), f"told twice: {texts}"
        assert not [one["title"] for one in alarms.heard if one["title"] in titles]
