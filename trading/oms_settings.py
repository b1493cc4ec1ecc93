"""The order manager's parameters. Section `oms` of the configuration."""

from __future__ import annotations

from decimal import Decimal

from attrs import field, frozen

from trading.settle import SettleSettings


@frozen(kw_only=True)
class OutcomeCooldowns:
    """How long a product takes no entry after an outcome, venue seconds. failed: the venue refused or lost an entry."""

    fill_s: float = 1_800.0
    win_s: float = 600.0
    loss_s: float = 3_600.0
    stop_s: float = 7_200.0
    failed_s: float = 300.0


@frozen(kw_only=True)
class OmsSettings:
    """Real seconds unless said otherwise.

    send_by_s: from the decision to the last moment a request may leave. place_repeat_s: PlaceOrder, Withdraw and Hello are
    repeated so. exit_ttl_s: time to live of an exit that rests (venue seconds). exit_beside_foreign_s: end_time of an exit
    beside coins of others. own_buys_wait_s: how long an exit waits for our own buys to be gone.
    post_trade_reconcile_wait_s: first wait before fills are read after a trade; it then follows `settle_quantile` of what was
    observed, between `settle_wait_s_min` and `_max`. reconcile_every_s: jittered +- 10 %. fills_overlap_s: how far behind
    the cursor fills are read again. retain_s: how long what is over stays in memory (venue seconds); retain_realised_s:
    the same for realised results. ban_s: of a red flag. fee_rate: taker fee as a fraction when the account's is unknown.
    dust_usd: what is worth less is dust when the product's minima are unknown. adopt_*: exit plan of adopted coins (that of the
    shipped price_move: nobody remembers theirs); adopt_lookback_s: how far back --adopt-from-venue looks for orders of ours.
    flatten_slippage_pct: how far below the bid a flatten may sell. drift_usd_max: differences above it stand as a condition.
    Marked [UNV] in protocol.md:
    settle.
    """

    send_by_s: float = 2.0
    place_repeat_s: float = 1.0
    cancel_repeat_s_max: float = 10.0
    exit_ttl_s: float = 20.0
    exit_beside_foreign_s: float = 10.0
    own_buys_wait_s: float = 1.0
    snapshot_every_s: float = 0.5
    snapshot_gap_s: float = 0.02
    post_trade_reconcile_wait_s: float = 0.75
    settle_quantile: float = 0.75
    settle_wait_s_min: float = 0.1
    settle_wait_s_max: float = 5.0
    reconcile_every_s: float = 30.0
    reconcile_retry_s: float = 1.0
    reconcile_retry_s_max: float = 10.0
    fills_overlap_s: float = 600.0
    retain_s: float = 90_000.0
    retain_realised_s: float = 700_000.0
    reduction_apart_s: float = 5.0
    tell_after_s: float = 30.0
    unbooked_tell_s: float = 30.0
    drain_wait_s: float = 6.0
    ban_s: float = 604_800.0
    fee_rate: Decimal = Decimal("0.006")
    dust_usd: Decimal = Decimal(1)
    flatten_slippage_pct: Decimal = Decimal(2)
    adopt_stop_pct: Decimal = Decimal(6)
    adopt_target_pct: Decimal = Decimal(12)
    adopt_hold_s: float = 172_800.0
    adopt_lookback_s: float = 2_592_000.0
    drift_usd_max: Decimal = Decimal("0.01")
    cooldowns: OutcomeCooldowns = field(factory=OutcomeCooldowns)
    settle: SettleSettings = field(factory=SettleSettings)
