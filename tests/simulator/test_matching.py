"""The engine's claims, one by one; virtual time, no server."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from exchange.simulator.matching import Settings, Venue
from exchange.simulator.products import make_product, with_usdc_twin
from exchange.simulator.words import BadRequestError, NotFoundError

MAKER, TAKER = D("0.006"), D("0.012")


class Bench:
    """A venue with BTC-USD quoted 100.00 / 101.00 and 1000 USD, and short ways to ask it."""

    def __init__(self, **settings) -> None:
        products = [*with_usdc_twin(make_product("BTC-USD")), *with_usdc_twin(make_product("DOGE-USD"))]
        self.venue = Venue(products, {"USD": D(1000), "BTC": D(2)}, settings=Settings(**settings), now_s=0.0)
        self.now = 0.0
        self.n = 0
        self.quote()

    def quote(self, bid="100", ask="101", bid_size="5", ask_size="5", depth=None):
        self.venue.market_quote("BTC-USD", D(bid), D(ask), D(bid_size), D(ask_size), self.now, depth)

    def trade(self, price, size, side):
        self.venue.market_trade("BTC-USD", D(price), D(size), side, self.now)

    def create(self, side="BUY", client_id=None, product="BTC-USD", **config):
        self.n += 1
        body = {
            "client_order_id": client_id or f"c{self.n}",
            "product_id": product,
            "side": side,
            "order_configuration": config,
        }
        return self.venue.create_order(body, self.now)

    def limit(self, side="BUY", size="1", price="100", post_only=False, **more):
        fields = {"base_size": size, "limit_price": price, "post_only": post_only}
        return self.placed(self.create(side, limit_limit_gtc=fields, **more))

    @staticmethod
    def placed(answer):
        assert answer["success"], answer
        return answer["success_response"]["order_id"]

    @staticmethod
    def reason(answer):
        assert not answer["success"], answer
        error = answer["error_response"]
        named = error["new_order_failure_reason"]
        return named if named != "UNKNOWN_FAILURE_REASON" else error["preview_failure_reason"]

    def order(self, order_id):
        return self.venue.order(order_id)["order"]

    def wallet(self, currency):
        rows = {row["currency"]: row for row in self.venue.accounts()["accounts"]}
        return D(rows[currency]["available_balance"]["value"]), D(rows[currency]["hold"]["value"])


@pytest.fixture()
def bench():
    return Bench()


def test_an_order_waits_behind_the_size_that_was_there_before_it(bench):
    order_id = bench.limit(price="100", size="1", post_only=True)
    bench.trade("100", "4", "BUY")
    assert bench.order(order_id)["filled_size"] == "0"
    bench.trade("100", "1.25", "BUY")
    assert bench.order(order_id)["filled_size"] == "0.25"
    bench.trade("100", "10", "BUY")
    assert bench.order(order_id)["status"] == "FILLED"


def test_a_shrinking_level_moves_the_order_up_but_a_growing_one_does_not_push_it_back(bench):
    order_id = bench.limit(price="100", size="1", post_only=True)
    bench.quote(bid_size="2")
    bench.quote(bid_size="50")
    bench.trade("100", "2.5", "BUY")
    assert bench.order(order_id)["filled_size"] == "0.5"


def test_two_own_orders_at_a_price_fill_in_time_order(bench):
    first, second = bench.limit(price="100.5", size="1"), bench.limit(price="100.5", size="1")
    bench.trade("100", "1.5", "BUY")
    assert bench.order(first)["status"] == "FILLED"
    assert bench.order(second)["filled_size"] == "0.5"


def test_a_better_price_goes_before_an_earlier_order(bench):
    early, better = bench.limit(price="100.2", size="1"), bench.limit(price="100.4", size="1")
    bench.trade("100.2", "1", "BUY")
    assert bench.order(better)["status"] == "FILLED"
    assert bench.order(early)["filled_size"] == "0"


def test_a_resting_order_fills_at_its_own_price_as_maker_when_the_street_comes_to_it(bench):
    order_id = bench.limit(price="100", size="1", post_only=True)
    bench.quote(bid="98", ask="99", ask_size="0.4")
    found = bench.order(order_id)
    assert (found["filled_size"], found["average_filled_price"], found["status"]) == ("0.4", "100", "OPEN")
    assert D(found["total_fees"]) == D("0.4") * 100 * MAKER
    bench.quote(bid="98", ask="99", ask_size="0.6")
    assert bench.order(order_id)["status"] == "FILLED"


def test_an_order_that_partly_crosses_pays_taker_on_that_part_and_maker_on_the_rest(bench):
    bench.quote(ask_size="0.5")
    order_id = bench.limit(price="101", size="1")
    bench.quote(bid="101", ask="102")
    bench.trade("101", "50", "BUY")
    found = bench.order(order_id)
    assert found["status"] == "FILLED"
    assert D(found["total_fees"]) == D("0.5") * 101 * TAKER + D("0.5") * 101 * MAKER
    assert [fill.liquidity for fill in bench.venue.fill_list] == ["TAKER", "MAKER"]


def test_a_buy_holds_its_value_and_the_fee_it_may_cost_and_gives_back_the_rest(bench):
    order_id = bench.limit(price="90", size="2")
    available, hold = bench.wallet("USD")
    assert hold == 180 * (1 + TAKER)
    assert available == 1000 - hold
    bench.venue.cancel([order_id], bench.now)
    assert bench.wallet("USD") == (D(1000), D(0))


def test_a_post_only_buy_reserves_only_the_maker_fee(bench):
    bench.limit(price="90", size="2", post_only=True)
    assert bench.wallet("USD")[1] == 180 * (1 + MAKER)


def test_a_sell_gives_quote_minus_fee(bench):
    bench.limit("SELL", size="1", price="100")
    assert bench.wallet("USD")[0] == 1000 + 100 * (1 - TAKER)
    assert bench.wallet("BTC") == (D(1), D(0))


def test_a_market_buy_by_quote_size_spends_fees_included(bench):
    order_id = bench.placed(bench.create(market_market_ioc={"quote_size": "100"}))
    found = bench.order(order_id)
    assert found["status"] == "FILLED"
    assert found["size_in_quote"] is True
    spent = D(found["total_value_after_fees"])
    assert D("99.99") < spent <= 100
    fill = bench.venue.fills({}, 10.0)["fills"][0]
    assert fill["size_in_quote"] is True
    assert D(fill["size"]) / D(fill["price"]) == D(found["filled_size"])


def test_a_market_order_walks_the_levels_behind_the_best():
    bench = Bench()
    bench.quote(ask_size="1", depth=lambda: ([], [(D(102), D(1)), (D(103), D(5))]))
    order_id = bench.placed(bench.create(market_market_ioc={"base_size": "2.5"}))
    assert [(fill.price, fill.size) for fill in bench.venue.fill_list] == [
        (D(101), D(1)),
        (D(102), D(1)),
        (D(103), D("0.5")),
    ]
    assert bench.order(order_id)["status"] == "FILLED"
    assert bench.venue.book("BTC-USD").best("SELL") == (D(103), D("4.5"))


def test_an_ioc_takes_what_its_limit_reaches_and_ends_cancelled(bench):
    order_id = bench.placed(bench.create(sor_limit_ioc={"base_size": "8", "limit_price": "101"}))
    found = bench.order(order_id)
    assert (found["status"], found["filled_size"]) == ("CANCELLED", "5")
    assert bench.wallet("USD")[1] == 0


def test_a_fill_or_kill_fills_whole_or_not_at_all(bench):
    refused = bench.placed(bench.create(limit_limit_fok={"base_size": "6", "limit_price": "101"}))
    assert (bench.order(refused)["status"], bench.order(refused)["filled_size"]) == ("CANCELLED", "0")
    whole = bench.placed(bench.create(limit_limit_fok={"base_size": "5", "limit_price": "101"}))
    assert bench.order(whole)["status"] == "FILLED"


def test_a_post_only_order_that_would_cross_is_refused(bench):
    answer = bench.create(limit_limit_gtc={"base_size": "1", "limit_price": "101", "post_only": True})
    assert bench.reason(answer) == "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY"


def test_a_good_till_date_order_expires_at_its_end_time_with_what_it_has(bench):
    fields = {"base_size": "2", "limit_price": "100.5", "end_time": "1970-01-01T00:01:00Z", "post_only": False}
    order_id = bench.placed(bench.create(limit_limit_gtd=fields))
    bench.trade("100.5", "0.5", "BUY")
    bench.venue.advance(59.9)
    assert bench.order(order_id)["status"] == "OPEN"
    bench.venue.advance(60.0)
    found = bench.order(order_id)
    assert (found["status"], found["filled_size"]) == ("EXPIRED", "0.5")
    assert bench.wallet("USD")[1] == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"end_time": "1970-01-01T00:00:00Z"}, "END_TIME_IS_IN_THE_PAST"),
        ({}, "GTD_ORDERS_MUST_HAVE_END_TIME"),
        ({"end_time": "1999-01-01T00:00:00Z"}, "END_TIME_TOO_FAR_IN_FUTURE"),
    ],
)
def test_an_end_time_must_lie_ahead(bench, fields, reason):
    assert bench.reason(bench.create(limit_limit_gtd={"base_size": "1", "limit_price": "90", **fields})) == reason


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"limit_limit_gtc": {"base_size": "0.000000001", "limit_price": "90"}}, "PREVIEW_INVALID_SIZE_PRECISION"),
        ({"limit_limit_gtc": {"base_size": "1", "limit_price": "90.001"}}, "PREVIEW_INVALID_PRICE_PRECISION"),
        ({"limit_limit_gtc": {"base_size": "0.001", "limit_price": "90"}}, "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
        ({"limit_limit_gtc": {"base_size": "0", "limit_price": "90"}}, "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
        ({"limit_limit_gtc": {"base_size": "3401", "limit_price": "90"}}, "PREVIEW_INVALID_BASE_SIZE_TOO_LARGE"),
        ({"limit_limit_gtc": {"base_size": "NaN", "limit_price": "90"}}, "PREVIEW_NON_NUMERIC_ORDER_SIZE"),
        ({"limit_limit_gtc": {"base_size": "1", "limit_price": "-1"}}, "INVALID_LIMIT_PRICE"),
        ({"limit_limit_gtc": {"base_size": "12", "limit_price": "90"}}, "PREVIEW_INSUFFICIENT_FUND"),
        ({"market_market_ioc": {"quote_size": "10.001"}}, "PREVIEW_INVALID_QUOTE_SIZE_PRECISION"),
        ({"market_market_ioc": {"quote_size": "0.5"}}, "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
        ({"market_market_fok": {"quote_size": "10"}}, "UNSUPPORTED_ORDER_CONFIGURATION"),
        ({"twap_limit_gtd": {}}, "UNSUPPORTED_ORDER_CONFIGURATION"),
    ],
)
def test_what_breaks_a_rule_of_the_product_is_refused_in_coinbases_words(bench, config, reason):
    assert bench.reason(bench.create(**config)) == reason
    assert bench.wallet("USD") == (D(1000), D(0))


def test_a_number_that_is_no_text_is_a_bad_request(bench):
    with pytest.raises(BadRequestError, match="invalid value for string type"):
        bench.create(limit_limit_gtc={"base_size": 1e-07, "limit_price": "90"})


@pytest.mark.parametrize(
    ("flag", "config", "reason"),
    [
        ("trading_disabled", "limit", "PREVIEW_TRADING_DISABLED"),
        ("is_disabled", "limit", "PREVIEW_TRADING_DISABLED"),
        ("view_only", "limit", "PREVIEW_TRADING_DISABLED"),
        ("cancel_only", "limit", "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"),
        ("auction_mode", "limit", "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"),
        ("limit_only", "market", "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"),
        ("limit_only", "ioc", None),
        ("post_only", "limit", "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"),
        ("post_only", "ioc", "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"),
        ("post_only", "maker", None),
    ],
)
def test_a_flag_allows_what_coinbase_says_it_allows(bench, flag, config, reason):
    configs = {
        "limit": {"limit_limit_gtc": {"base_size": "1", "limit_price": "90"}},
        "maker": {"limit_limit_gtc": {"base_size": "1", "limit_price": "90", "post_only": True}},
        "ioc": {"sor_limit_ioc": {"base_size": "1", "limit_price": "101"}},
        "market": {"market_market_ioc": {"quote_size": "10"}},
    }
    setattr(bench.venue.products["BTC-USD"], flag, True)
    answer = bench.create(**configs[config])
    assert (None if answer["success"] else bench.reason(answer)) == reason


@pytest.mark.parametrize("flag", ["trading_disabled", "is_disabled", "cancel_only", "auction_mode"])
def test_a_halted_product_matches_nothing_but_cancels(bench, flag):
    order_id = bench.limit(price="100.5")
    setattr(bench.venue.products["BTC-USD"], flag, True)
    bench.quote(bid="90", ask="91")
    bench.trade("95", "10", "BUY")
    assert bench.order(order_id)["filled_size"] == "0"
    assert bench.venue.cancel([order_id], bench.now)["results"][0]["success"] is True
    assert bench.order(order_id)["status"] == "CANCELLED"


def test_a_cancel_is_accepted_first_and_done_later_and_a_fill_may_win():
    bench = Bench(cancel_s=1.0)
    loser, winner = bench.limit(price="100.2"), bench.limit(price="100.4")
    bench.venue.cancel([loser, winner], 0.0)
    assert bench.order(loser)["status"] == "CANCEL_QUEUED"
    assert bench.order(loser)["pending_cancel"] is True
    again = bench.venue.cancel([loser], 0.1)["results"][0]
    assert (again["success"], again["failure_reason"]) == (False, "DUPLICATE_CANCEL_REQUEST")
    bench.trade("100.3", "5", "BUY")
    bench.venue.advance(1.0)
    assert bench.order(winner)["status"] == "FILLED"
    assert bench.order(loser)["status"] == "CANCELLED"


def test_cancel_names_each_reason(bench):
    filled = bench.placed(bench.create(sor_limit_ioc={"base_size": "1", "limit_price": "101"}))
    cancelled = bench.limit(price="90")
    bench.venue.cancel([cancelled], 0.0)
    results = bench.venue.cancel([filled, cancelled, "nobody"], 0.0)["results"]
    assert [row["failure_reason"] for row in results] == [
        "ORDER_IS_FULLY_FILLED",
        "UNKNOWN_CANCEL_ORDER",
        "UNKNOWN_CANCEL_ORDER",
    ]


def test_a_pending_order_is_not_listed_as_open_and_meets_the_book_later():
    bench = Bench(pending_s=2.0)
    order_id = bench.limit(price="100.5")
    assert bench.venue.list_orders({"order_status": ["OPEN"]}, 1.0)["orders"] == []
    assert len(bench.venue.list_orders({"order_status": ["PENDING", "QUEUED"]}, 1.0)["orders"]) == 1
    bench.now = 1.0
    bench.trade("100.5", "9", "BUY")
    assert bench.order(order_id)["filled_size"] == "0"
    assert len(bench.venue.list_orders({"order_status": ["OPEN"]}, 2.0)["orders"]) == 1


def test_listing_lag_hides_a_young_order_from_every_listing():
    bench = Bench(listing_lag_s=30.0)
    bench.limit(price="90")
    for filters in ({}, {"order_status": ["OPEN"]}):
        assert bench.venue.list_orders(filters, 29.9)["orders"] == []
        assert len(bench.venue.list_orders(filters, 30.0)["orders"]) == 1


def test_a_fill_is_listed_after_its_settle_time():
    bench = Bench(settle_s=0.5)
    bench.create(sor_limit_ioc={"base_size": "1", "limit_price": "101"})
    assert bench.venue.fills({}, 0.4)["fills"] == []
    assert len(bench.venue.fills({}, 0.5)["fills"]) == 1


def test_a_known_client_order_id_makes_no_second_order(bench):
    first = bench.limit(price="90", client_id="same")
    again = bench.create(client_id="same", limit_limit_gtc={"base_size": "2", "limit_price": "80"})
    assert bench.placed(again) == first
    assert len(bench.venue.orders) == 1


def test_a_known_client_order_id_may_be_refused_instead():
    bench = Bench(duplicate_answer="reject")
    bench.limit(price="90", client_id="same")
    answer = bench.create(client_id="same", limit_limit_gtc={"base_size": "1", "limit_price": "90"})
    assert bench.reason(answer) == "DUPLICATE_CLIENT_ORDER_ID"


def test_when_funds_are_checked_before_the_id_the_repeat_is_refused_for_lack_of_the_very_funds():
    bench = Bench(dedupe_before_validation=False)
    bench.limit(price="90", size="10", client_id="same")
    answer = bench.create(client_id="same", limit_limit_gtc={"base_size": "10", "limit_price": "90"})
    assert bench.reason(answer) == "PREVIEW_INSUFFICIENT_FUND"


@pytest.mark.parametrize(
    ("retention", "at", "orders"), [(None, 9e9, 1), (600.0, 599.0, 1), (600.0, 600.0, 2), (0.0, 0.0, 2)]
)
def test_a_client_order_id_is_remembered_as_long_as_the_venue_remembers(retention, at, orders):
    bench = Bench(client_id_retention_s=retention)
    bench.limit(price="90", client_id="same")
    bench.now = at
    bench.limit(price="90", client_id="same")
    assert len(bench.venue.orders) == orders


@pytest.mark.parametrize(("forget", "accepted"), [(True, True), (False, False)])
def test_a_refused_id_may_be_forgotten(forget, accepted):
    bench = Bench(forget_refusals=forget)
    crossing = {"base_size": "1", "limit_price": "101", "post_only": True}
    assert bench.create(client_id="same", limit_limit_gtc=crossing)["success"] is False
    bench.quote(bid="101", ask="102")
    assert bench.create(client_id="same", limit_limit_gtc=crossing)["success"] is accepted


def test_partial_fills_on_demand():
    bench = Bench(match_size_max=D("0.3"))
    order_id = bench.placed(bench.create(sor_limit_ioc={"base_size": "1", "limit_price": "101"}))
    assert (bench.order(order_id)["filled_size"], bench.order(order_id)["status"]) == ("0.3", "CANCELLED")


def test_an_order_that_meets_our_own_is_cut_off_there(bench):
    resting = bench.limit("SELL", price="100.5", size="1")
    order_id = bench.limit(price="100.7", size="1")
    found = bench.order(order_id)
    assert (found["status"], found["cancel_message"]) == ("CANCELLED", "SELF_TRADE_PREVENTION")
    assert bench.order(resting)["status"] == "OPEN"


def test_a_dollar_coin_order_shares_the_book_and_settles_in_its_own_wallet(bench):
    bench.venue.wallets.deposit("USDC", D(500), 0.0)
    answer = bench.create(product="BTC-USDC", sor_limit_ioc={"base_size": "1", "limit_price": "101"})
    bench.placed(answer)
    assert bench.wallet("USDC")[0] == 500 - 101 * (1 + TAKER)
    assert bench.wallet("USD")[0] == 1000
    assert bench.venue.book("BTC-USDC").best("SELL") == (D(101), D(4))


def test_a_never_used_currency_has_no_account(bench):
    assert {row["currency"] for row in bench.venue.accounts()["accounts"]} == {"USD", "BTC"}
    with pytest.raises(NotFoundError):
        bench.venue.account("nobody")


def test_the_fee_tier_at_placement_applies_and_volume_counts_for_thirty_days(bench):
    bench.venue.wallets.deposit("USD", D(50_000), 0.0)
    bench.quote(ask_size="200")
    bench.create(sor_limit_ioc={"base_size": "100", "limit_price": "101"})
    resting = bench.limit(price="100.5")
    assert bench.venue.tier(0.0)[0].name == "Advanced 1"
    bench.trade("100.5", "1", "BUY")
    assert D(bench.order(resting)["total_fees"]) == D("100.5") * D("0.0025")
    assert bench.venue.tier(30 * 86_400.0)[0].name == "Intro 1"


def test_edit_changes_price_and_total_size_and_the_hold(bench):
    order_id = bench.limit(price="90", size="1")
    assert bench.venue.edit({"order_id": order_id, "price": "91", "size": "2"}, 0.0) == {"success": True, "errors": []}
    assert bench.wallet("USD")[1] == 182 * (1 + TAKER)
    fields = bench.order(order_id)["order_configuration"]["limit_limit_gtc"]
    assert (fields["base_size"], fields["limit_price"]) == ("2", "91")
    assert len(bench.order(order_id)["edit_history"]) == 1


def test_a_smaller_size_keeps_its_place_and_a_new_price_loses_it(bench):
    kept, behind = bench.limit(price="100.5", size="2"), bench.limit(price="100.5", size="1")
    bench.venue.edit({"order_id": kept, "price": "100.5", "size": "1"}, 0.0)
    bench.trade("100.5", "1", "BUY")
    assert bench.order(kept)["status"] == "FILLED"
    assert bench.order(behind)["filled_size"] == "0"


@pytest.mark.parametrize(
    ("price", "size", "reason"),
    [
        ("90", "1", "EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST"),
        ("90.001", "1", "INVALID_EDITED_PRICE"),
        ("91", "", "INVALID_EDITED_SIZE"),
        ("91", "100", "COMMANDER_REJECTED_EDIT_ORDER"),
    ],
)
def test_an_edit_is_refused_with_its_reason(bench, price, size, reason):
    order_id = bench.limit(price="90", size="1")
    answer = bench.venue.edit({"order_id": order_id, "price": price, "size": size}, 0.0)
    assert answer["errors"][0]["edit_failure_reason"] == reason


def test_a_stop_limit_triggers_on_the_last_trade(bench):
    fields = {"base_size": "1", "limit_price": "95", "stop_price": "97", "stop_direction": "STOP_DIRECTION_STOP_DOWN"}
    order_id = bench.placed(bench.create("SELL", stop_limit_stop_limit_gtc=fields))
    assert bench.order(order_id)["trigger_status"] == "STOP_PENDING"
    bench.trade("98", "1", "BUY")
    assert bench.order(order_id)["trigger_status"] == "STOP_PENDING"
    bench.quote(bid="96", ask="97")
    bench.trade("97", "1", "BUY")
    found = bench.order(order_id)
    assert (found["trigger_status"], found["status"], found["average_filled_price"]) == (
        "STOP_TRIGGERED",
        "FILLED",
        "96",
    )


def test_a_bracket_rests_as_target_and_fires_as_stop(bench):
    fields = {"base_size": "1", "limit_price": "110", "stop_trigger_price": "95"}
    target = bench.placed(bench.create("SELL", trigger_bracket_gtc=fields))
    stopped = bench.placed(bench.create("SELL", trigger_bracket_gtc=fields))
    bench.quote(bid="110", ask="111", bid_size="1")
    assert bench.order(target)["status"] == "FILLED"
    bench.quote(bid="94", ask="95")
    bench.trade("94.5", "1", "BUY")
    assert bench.order(stopped)["status"] == "FILLED"
    assert bench.order(stopped)["average_filled_price"] == "94"


def test_orders_page_without_gap_or_repeat_while_new_ones_arrive(bench):
    wanted = [bench.limit(price="10", size="0.1") for _ in range(25)]
    seen, cursor = [], ""
    while True:
        page = bench.venue.list_orders({"limit": ["10"], "cursor": [cursor]}, 0.0)
        seen += [row["order_id"] for row in page["orders"]]
        cursor = page["cursor"]
        assert page["has_next"] == bool(cursor)
        if not cursor:
            break
        bench.limit(price="10", size="0.1")
    assert seen == list(reversed(wanted))


def test_open_cannot_be_combined_with_other_statuses(bench):
    with pytest.raises(BadRequestError, match="OPEN cannot be combined"):
        bench.venue.list_orders({"order_status": ["OPEN", "PENDING"]}, 0.0)


def test_filters_select(bench):
    bench.limit(price="90")
    sell = bench.limit("SELL", price="110")
    page = bench.venue.list_orders({"order_side": ["SELL"], "product_ids": ["BTC-USD"]}, 0.0)
    assert [row["order_id"] for row in page["orders"]] == [sell]
    assert bench.venue.list_orders({"product_ids": ["DOGE-USD"]}, 0.0)["orders"] == []
    assert bench.venue.list_orders({"start_date": ["1970-01-01T00:00:01Z"]}, 0.0)["orders"] == []
    assert len(bench.venue.list_orders({"end_date": ["1970-01-01T00:00:01Z"]}, 0.0)["orders"]) == 2
    with pytest.raises(BadRequestError, match="cursor"):
        bench.venue.list_orders({"cursor": ["%%%"]}, 0.0)


def test_a_preview_costs_nothing_and_tells_everything(bench):
    body = {
        "product_id": "BTC-USD",
        "side": "BUY",
        "order_configuration": {"market_market_ioc": {"quote_size": "101.2"}},
    }
    answer = bench.venue.preview(body, 0.0)
    assert answer["errs"] == []
    assert D(answer["commission_total"]) == D("1.2")
    assert bench.venue.orders == {}
    body["order_configuration"] = {"limit_limit_gtc": {"base_size": "100", "limit_price": "90"}}
    assert bench.venue.preview(body, 0.0)["errs"] == ["PREVIEW_INSUFFICIENT_FUND"]


def test_the_user_channel_tells_cumulative_states_in_order(bench):
    bench.limit(price="100.5", size="1")
    bench.trade("100.5", "0.25", "BUY")
    bench.trade("100.5", "1", "BUY")
    told = [event.order for event in bench.venue.events() if hasattr(event, "order")]
    assert [(row["status"], row["cumulative_quantity"], row["leaves_quantity"]) for row in told] == [
        ("OPEN", "0", "1"),
        ("OPEN", "0.25", "0.75"),
        ("FILLED", "1", "0"),
    ]
    assert bench.venue.events() == []


def test_a_reversal_undoes_a_fill_to_the_last_digit_once(bench):
    bench.create(sor_limit_ioc={"base_size": "1", "limit_price": "101"})
    trade_id = bench.venue.fill_list[0].trade_id
    assert bench.wallet("BTC")[0] == 3
    bench.venue.reverse(trade_id, 5.0)
    assert (bench.wallet("USD"), bench.wallet("BTC")) == ((D(1000), D(0)), (D(2), D(0)))
    assert set(bench.venue.wallets.street.values()) | set(bench.venue.wallets.fees.values()) == {D(0)}
    rows = bench.venue.fills({}, 10.0)["fills"]
    assert [row["trade_type"] for row in rows] == ["REVERSAL", "FILL"]
    assert len({row["trade_id"] for row in rows}) == 1
    assert len({row["entry_id"] for row in rows}) == 2
    with pytest.raises(ValueError, match="undone before"):
        bench.venue.reverse(trade_id, 6.0)
    with pytest.raises(NotFoundError):
        bench.venue.reverse("nothing", 6.0)


def test_ten_thousand_orders_in_ten_thousand_groups_merge_in_one_pass():
    """Each behind another size of the street; then the street's level vanishes (moved one by one, that is fifty million moves)."""
    bench = Bench()
    bench.venue.wallets.deposit("USD", D(10**9), 0.0)
    for n in range(10_000):
        bench.quote(bid_size=str(n + 1))
        bench.limit(price="100", size="0.01", post_only=True)
    level = bench.venue.book("BTC-USD").bids.levels[D(100)]
    assert len(level.groups) == 10_000
    bench.quote(bid_size="0.5")
    assert len(level.groups) == 1
    bench.trade("100", "0.515", "BUY")
    first, second = list(bench.venue.orders.values())[:2]
    assert (first.status, second.status, second.filled_size) == ("FILLED", "OPEN", D("0.005"))
