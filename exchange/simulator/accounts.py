"""Wallets and fees. Money is never made or lost: what leaves a wallet arrives on the street or at the fee account."""

from __future__ import annotations

from decimal import Decimal

from attrs import define, field, frozen

from exchange.simulator.words import ZERO


@define
class Wallet:
    """One currency: `total` is what is owned, `hold` the part promised to working orders."""

    currency: str
    total: Decimal = ZERO
    hold: Decimal = ZERO
    created_s: float = 0.0
    updated_s: float = 0.0

    @property
    def available(self) -> Decimal:
        return self.total - self.hold


@define
class Wallets:
    """The account's wallets and the two others sides of every trade: the street (all other traders) and the venue's fees."""

    by_currency: dict[str, Wallet] = field(factory=dict)
    street: dict[str, Decimal] = field(factory=dict)
    fees: dict[str, Decimal] = field(factory=dict)
    changed: set[str] = field(factory=set)

    def deposit(self, currency: str, amount: Decimal, now_s: float) -> None:
        wallet = self.of(currency, now_s)
        wallet.total += amount
        wallet.updated_s = now_s
        self.changed.add(currency)

    def of(self, currency: str, now_s: float = 0.0) -> Wallet:
        """The wallet; a never-used currency gets one now (Coinbase lists no row before)."""
        wallet = self.by_currency.get(currency)
        if wallet is None:
            wallet = self.by_currency[currency] = Wallet(currency, created_s=now_s, updated_s=now_s)
        return wallet

    def available(self, currency: str) -> Decimal:
        wallet = self.by_currency.get(currency)
        return wallet.available if wallet else ZERO

    def move_hold(self, currency: str, by: Decimal, now_s: float) -> None:
        if by:
            wallet = self.of(currency, now_s)
            wallet.hold += by
            wallet.updated_s = now_s
            self.changed.add(currency)

    def trade(
        self, give: str, given: Decimal, take: str, taken: Decimal, fee: Decimal, fee_currency: str, now_s: float
    ) -> None:
        """Give to the street, take from it, pay the fee: three entries that sum to zero in each currency."""
        giver, taker = self.of(give, now_s), self.of(take, now_s)
        giver.total -= given
        taker.total += taken
        self.of(fee_currency, now_s).total -= fee
        self.street[give] = self.street.get(give, ZERO) + given
        self.street[take] = self.street.get(take, ZERO) - taken
        self.fees[fee_currency] = self.fees.get(fee_currency, ZERO) + fee
        giver.updated_s = taker.updated_s = now_s
        self.changed.update((give, take, fee_currency))


@frozen(kw_only=True)
class FeeTier:
    name: str
    from_usd: Decimal
    maker: Decimal
    taker: Decimal


DEFAULT_TIERS = (
    # The first row is the recorded account's; the others are the long-standing table (rates are only ever examples).
    FeeTier(name="Intro 1", from_usd=ZERO, maker=Decimal("0.006"), taker=Decimal("0.012")),
    FeeTier(name="Advanced 1", from_usd=Decimal(10_000), maker=Decimal("0.0025"), taker=Decimal("0.004")),
    FeeTier(name="Advanced 2", from_usd=Decimal(50_000), maker=Decimal("0.0015"), taker=Decimal("0.0025")),
    FeeTier(name="Advanced 3", from_usd=Decimal(500_000), maker=Decimal("0.001"), taker=Decimal("0.002")),
    FeeTier(name="Advanced 4", from_usd=Decimal(1_000_000), maker=Decimal("0.0007"), taker=Decimal("0.0016")),
    FeeTier(name="VIP 1", from_usd=Decimal(15_000_000), maker=Decimal("0.0005"), taker=Decimal("0.0014")),
    FeeTier(name="VIP 2", from_usd=Decimal(100_000_000), maker=ZERO, taker=Decimal("0.0008")),
)


def flat_fees(maker_bps: int, taker_bps: int, name: str = "Intro 1") -> tuple[FeeTier, ...]:
    """One tier for every volume; `flat_fees(60, 120)` is the recorded account's."""
    return (
        FeeTier(
            name=name,
            from_usd=ZERO,
            maker=Decimal(maker_bps) / 10_000,
            taker=Decimal(taker_bps) / 10_000,
        ),
    )


def tier_of(tiers: tuple[FeeTier, ...], volume_usd: Decimal) -> tuple[FeeTier, FeeTier | None]:
    """The tier of a trailing 30-day volume, and the next one (None at the top)."""
    at = 0
    for index, tier in enumerate(tiers):
        if volume_usd >= tier.from_usd:
            at = index
    return tiers[at], tiers[at + 1] if at + 1 < len(tiers) else None
