"""The venue's status page in the shape of Atlassian Statuspage v2 (summary.json and its parts)."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from exchange.simulator.words import rfc3339

PAGE = {
    "id": "kr0djjh0jyy9",
    "name": "Coinbase",
    "url": "https://status.coinbase.com",
    "time_zone": "America/Los_Angeles",
}
COMPONENTS = ("Advanced Trade API", "Advanced Trade WebSocket", "Website", "Mobile")
DESCRIPTIONS = {
    "none": "All Systems Operational",
    "minor": "Minor Service Outage",
    "major": "Partial System Outage",
    "critical": "Major Service Outage",
}


@define
class StatusPage:
    components: dict[str, str] = field(factory=lambda: dict.fromkeys(COMPONENTS, "operational"))
    indicator: str = "none"
    incidents: list[dict[str, Any]] = field(factory=list)
    updated_s: float = 0.0

    def change(self, spec: dict[str, Any], now_s: float) -> Any:
        """Apply a status_page fault; what `restore` needs to undo it."""
        before = (dict(self.components), self.indicator, list(self.incidents))
        if spec.get("component"):
            self.components[str(spec["component"])] = str(spec.get("value") or "partial_outage")
        self.indicator = str(spec.get("indicator") or ("minor" if spec.get("component") else self.indicator))
        if spec.get("incident"):
            at = rfc3339(now_s, 3)
            number = len(self.incidents) + 1
            self.incidents.append(
                {
                    "id": f"i{number}",
                    "name": str(spec["incident"]),
                    "status": "investigating",
                    "impact": self.indicator,
                    "created_at": at,
                    "updated_at": at,
                    "monitoring_at": None,
                    "resolved_at": None,
                    "shortlink": "https://stspg.io/x",
                    "started_at": at,
                    "page_id": PAGE["id"],
                    "incident_updates": [
                        {
                            "id": f"u{number}",
                            "status": "investigating",
                            "body": str(spec["incident"]),
                            "incident_id": f"i{number}",
                            "created_at": at,
                            "updated_at": at,
                            "display_at": at,
                            "affected_components": [],
                        }
                    ],
                    "components": [],
                }
            )
        self.updated_s = now_s
        return before

    def restore(self, before: Any) -> None:
        self.components, self.indicator, self.incidents = before

    def part(self, name: str, now_s: float) -> dict[str, Any] | None:
        """summary, status, components, incidents, ...; None for a page that does not exist."""
        at = rfc3339(self.updated_s or now_s, 3)
        page = {**PAGE, "updated_at": at}
        components = [
            {
                "id": f"c{n}",
                "name": component,
                "status": state,
                "created_at": at,
                "updated_at": at,
                "position": n,
                "description": None,
                "showcase": False,
                "start_date": None,
                "group_id": "g1",
                "page_id": PAGE["id"],
                "group": False,
                "only_show_if_degraded": False,
            }
            for n, (component, state) in enumerate(self.components.items(), 1)
        ]
        status = {"indicator": self.indicator, "description": DESCRIPTIONS.get(self.indicator, "")}
        parts: dict[str, dict[str, Any]] = {
            "summary": {
                "components": components,
                "incidents": self.incidents,
                "scheduled_maintenances": [],
                "status": status,
            },
            "status": {"status": status},
            "components": {"components": components},
            "incidents": {"incidents": self.incidents},
            "incidents/unresolved": {"incidents": self.incidents},
            "scheduled-maintenances/upcoming": {"scheduled_maintenances": []},
        }
        return {"page": page, **parts[name]} if name in parts else None
