"""What is traded: increments, minima, flags, and the product as Coinbase's JSON.

Increments and minima of the default products are those of Coinbase's product table of 2025-08-27; maxima are those of
the recorded BTC-USD product. Flags are plain attributes: the back door and fault plans change them while the venue runs.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from attrs import define, field

FLAGS = (
    "is_disabled",
    "cancel_only",
    "limit_only",
    "post_only",
    "trading_disabled",
    "auction_mode",
    "view_only",
    "new",
)


@define(kw_only=True)
class Product:
    product_id: str
    base: str
    quote: str
    base_name: str
    quote_name: str = "US Dollar"
    price_increment: Decimal
    base_increment: Decimal
    quote_increment: Decimal
    quote_min_size: Decimal = Decimal(1)
    quote_max_size: Decimal = Decimal(150_000_000)
    base_min_size: Decimal
    base_max_size: Decimal
    alias: str = ""
    """The product whose book this one shares (BTC-USDC trades in BTC-USD's book and settles in USDC)."""
    alias_to: list[str] = field(factory=list)
    status: str = "online"
    is_disabled: bool = False
    cancel_only: bool = False
    limit_only: bool = False
    post_only: bool = False
    trading_disabled: bool = False
    auction_mode: bool = False
    view_only: bool = False
    new: bool = False

    @property
    def book_id(self) -> str:
        return self.alias or self.product_id

    @property
    def halted(self) -> bool:
        """Nothing is matched: neither what arrives nor what rests."""
        return (
            self.trading_disabled
            or self.is_disabled
            or self.cancel_only
            or self.auction_mode
            or self.status != "online"
        )

    @property
    def closed(self) -> bool:
        return self.trading_disabled or self.is_disabled or self.view_only or self.status != "online"


def product_json(product: Product, stats: dict[str, str]) -> dict[str, Any]:
    """The product as GET /products/{id} answers it. `stats`: price, volume_24h, high_24h, ... as text ("" = absent)."""
    get = stats.get
    return {
        "product_id": product.product_id,
        "price": get("price", ""),
        "price_percentage_change_24h": get("price_percentage_change_24h", ""),
        "volume_24h": get("volume_24h", ""),
        "volume_percentage_change_24h": get("volume_percentage_change_24h", ""),
        "base_increment": format(product.base_increment, "f"),
        "quote_increment": format(product.quote_increment, "f"),
        "quote_min_size": format(product.quote_min_size, "f"),
        "quote_max_size": format(product.quote_max_size, "f"),
        "base_min_size": format(product.base_min_size, "f"),
        "base_max_size": format(product.base_max_size, "f"),
        "base_name": product.base_name,
        "quote_name": product.quote_name,
        "watched": False,
        "is_disabled": product.is_disabled,
        "new": product.new,
        "status": product.status,
        "cancel_only": product.cancel_only,
        "limit_only": product.limit_only,
        "post_only": product.post_only,
        "trading_disabled": product.trading_disabled,
        "auction_mode": product.auction_mode,
        "product_type": "SPOT",
        "quote_currency_id": product.quote,
        "base_currency_id": product.base,
        "fcm_trading_session_details": None,
        "mid_market_price": "",
        "alias": product.alias,
        "alias_to": list(product.alias_to),
        "base_display_symbol": product.base,
        "quote_display_symbol": "USD" if product.quote == "USDC" else product.quote,
        "view_only": product.view_only,
        "price_increment": format(product.price_increment, "f"),
        "display_name": product.product_id,
        "product_venue": "CBE",
        "approximate_quote_24h_volume": get("approximate_quote_24h_volume", ""),
        "new_at": "2023-01-01T00:00:00Z",
        "market_cap": "",
        "base_cbrn": "",
        "quote_cbrn": "",
        "product_cbrn": "",
        "icon_color": "",
        "icon_url": "",
        "display_name_overwrite": "",
        "is_alpha_testing": False,
        "about_description": "",
        "best_bid_price": "",
        "best_ask_price": "",
        "high_24h": get("high_24h", ""),
        "low_24h": get("low_24h", ""),
        "hidden_from_discovery": False,
    }


# product, name, price_increment, base_increment, base_max_size
_TABLE = (
    ("BTC-USD", "Bitcoin", "0.01", "0.00000001", "3400"),
    ("ETH-USD", "Ethereum", "0.01", "0.00000001", "50000"),
    ("SOL-USD", "Solana", "0.01", "0.00000001", "1000000"),
    ("DOGE-USD", "Dogecoin", "0.00001", "0.1", "500000000"),
    ("AVAX-USD", "Avalanche", "0.01", "0.00000001", "2000000"),
    ("XRP-USD", "XRP", "0.0001", "0.000001", "100000000"),
    ("LINK-USD", "Chainlink", "0.001", "0.01", "5000000"),
    ("LTC-USD", "Litecoin", "0.01", "0.00000001", "1000000"),
)
KNOWN = {row[0]: row for row in _TABLE}
DEFAULT_PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD", "AVAX-USD")


def make_product(product_id: str, price_increment: Decimal | None = None) -> Product:
    """A product by its id: known ones with their real increments, others with 8 decimals of size and the given tick."""
    base, _, quote = product_id.partition("-")
    row = KNOWN.get(product_id)
    tick = Decimal(row[2]) if row else price_increment or Decimal("0.01")
    step = Decimal(row[3]) if row else Decimal("0.00000001")
    return Product(
        product_id=product_id,
        base=base,
        quote=quote,
        base_name=row[1] if row else base,
        quote_name={"USD": "US Dollar", "USDC": "USDC", "EUR": "Euro", "GBP": "British Pound"}.get(quote, quote),
        price_increment=tick,
        base_increment=step,
        quote_increment=tick,
        base_min_size=step,
        base_max_size=Decimal(row[4]) if row else Decimal(100_000_000),
    )


def with_usdc_twin(product: Product) -> list[Product]:
    """BTC-USD and the BTC-USDC that shares its book, as Coinbase lists them. Other quotes have no twin."""
    if product.quote != "USD":
        return [product]
    twin = make_product(f"{product.base}-USDC", product.price_increment)
    twin.base_name = product.base_name
    twin.base_increment = twin.base_min_size = product.base_increment
    twin.base_max_size = product.base_max_size
    twin.alias = product.product_id
    product.alias_to = [twin.product_id]
    return [product, twin]
