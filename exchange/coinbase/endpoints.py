"""Where the venue is: Coinbase itself, or a simulated venue by the JSON line that it prints when ready."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class Endpoints:
    """rest: bare `host[:port]`, as the SDK wants it. ws_*: full wss:// addresses. ca_file: None for the system's
    authorities. status_url: a Statuspage `summary.json`, None when there is none to ask. back_door: simulated venues only.
    """

    rest: str
    ws_market: str
    ws_user: str
    ca_file: str | None = None
    status_url: str | None = None
    back_door: str | None = None

    @classmethod
    def coinbase(cls) -> Endpoints:
        return cls(
            rest="api.coinbase.com",
            ws_market="wss://advanced-trade-ws.coinbase.com",
            ws_user="wss://advanced-trade-ws-user.coinbase.com",
            status_url="https://status.coinbase.com/api/v2/summary.json",
        )

    @classmethod
    def simulated(cls, contract_line: Mapping[str, Any]) -> Endpoints:
        """From the contract line of `run.py simulator --json`. ValueError names what is missing."""
        missing = [key for key in ("rest", "ws_market", "ws_user", "ca") if not contract_line.get(key)]
        if missing:
            raise ValueError(
                f"the simulated venue's contract line lacks {', '.join(missing)}: it has {', '.join(sorted(contract_line))}; "
                "start it again with `run.py simulator --json`"
            )
        status = contract_line.get("status_page")
        back_door = contract_line.get("back_door")
        return cls(
            rest=str(contract_line["rest"]),
            ws_market=str(contract_line["ws_market"]),
            ws_user=str(contract_line["ws_user"]),
            ca_file=str(contract_line["ca"]),
            status_url=str(status) if status else f"https://{contract_line['rest']}/api/v2/summary.json",
            back_door=str(back_door) if back_door else None,
        )

    @property
    def is_coinbase(self) -> bool:
        """Real money may be at the other end."""
        return self.rest.split(":")[0].endswith(".coinbase.com")
