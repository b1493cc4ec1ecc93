"""From the venue's status page to what entries may do, pure. A hint only: people update that page late.

    degraded, maintenance     clamp: sizes are multiplied by `clamp_multiplier`
    outage of a component     entries stop
    global incident           entries stop (`on_global_incident: reducing`), or a kill is wanted (`kill`)

A worse reading counts at once, a better one after `healthy_readings_min` readings in a row. A page that cannot be
reached is not health: it clears nothing, and a page unreachable for `status_silence_s_max` clamps. This wish for a kill
goes with the incident; the kill itself is kill_switch's, and only a person takes it back.
"""

from __future__ import annotations

from enum import IntEnum

from attrs import field, frozen

from trading.messages.control import ExchangeStatus


class Effect(IntEnum):
    """In order of severity."""

    NONE = 0
    CLAMP = 1
    STOP = 2
    KILL = 3


COMPONENT_EFFECTS: dict[str, Effect] = {
    "operational": Effect.NONE,
    "degraded_performance": Effect.CLAMP,
    "under_maintenance": Effect.CLAMP,
    "partial_outage": Effect.STOP,
    "major_outage": Effect.STOP,
}
"""A word that is not here clamps: it is not "operational"."""

_CHOICES = {"ignore": Effect.NONE, "clamp": Effect.CLAMP, "stop": Effect.STOP}


@frozen(kw_only=True)
class ExchangeStatusSettings:
    """components: part of a component's name, lower case -> what its trouble does: "default" (the table above), "ignore",
    "clamp" or "stop"; the first that matches counts, and a component that matches none is not ours to mind.
    on_global_incident: "reducing" or "kill".
    """

    components: dict[str, str] = field(
        factory=lambda: {"advanced trade": "default", "exchange": "default", "trading": "default", "api": "default"}
    )
    global_indicators: tuple[str, ...] = ("major", "critical")
    global_impacts: tuple[str, ...] = ("critical",)
    on_global_incident: str = "reducing"
    healthy_readings_min: int = 3
    clamp_multiplier: float = 0.5
    status_silence_s_max: float = 900.0

    def __attrs_post_init__(self) -> None:
        if self.on_global_incident not in ("reducing", "kill"):
            raise ValueError(f"on_global_incident is {self.on_global_incident!r}; it takes reducing or kill")
        for name, choice in self.components.items():
            if choice != "default" and choice not in _CHOICES:
                raise ValueError(
                    f"exchange component {name!r} has {choice!r}; it takes default, {', '.join(sorted(_CHOICES))}"
                )


@frozen
class Standing:
    """What holds now. reasons: worst first, in words."""

    effect: Effect = Effect.NONE
    reasons: tuple[str, ...] = ()


def judged(status: ExchangeStatus, settings: ExchangeStatusSettings) -> Standing:
    """One reachable reading by itself, without memory."""
    found: list[tuple[Effect, str]] = []
    for name, word in status.components:
        effect = _component(name, word, settings)
        if effect:
            found.append((effect, f"{name}: {word}"))
    for name, word in status.maintenances:
        if _matching(name, settings) not in (None, "ignore"):
            found.append((Effect.CLAMP, f"maintenance {name}: {word}"))
    worldwide = Effect.KILL if settings.on_global_incident == "kill" else Effect.STOP
    if status.indicator in settings.global_indicators:
        found.append((worldwide, f"global incident: {status.indicator}"))
    found += [
        (worldwide, f"global incident: {name} ({impact})")
        for name, impact in status.incidents
        if impact in settings.global_impacts
    ]
    found.sort(key=lambda pair: -pair[0])
    return Standing(found[0][0], tuple(reason for _, reason in found)) if found else Standing()


def _matching(name: str, settings: ExchangeStatusSettings) -> str | None:
    lowered = name.lower()
    return next((choice for part, choice in settings.components.items() if part.lower() in lowered), None)


def _component(name: str, word: str, settings: ExchangeStatusSettings) -> Effect:
    choice = _matching(name, settings)
    by_word = COMPONENT_EFFECTS.get(word, Effect.CLAMP)
    if choice is None or by_word is Effect.NONE:
        return Effect.NONE
    return by_word if choice == "default" else _CHOICES[choice]


class ExchangeHealth:
    """Readings in, `Standing` out, with hysteresis. started_boot_s: silence counts from there."""

    def __init__(self, settings: ExchangeStatusSettings, started_boot_s: float, *, asked: bool) -> None:
        self.settings = settings
        self._asked = asked
        self._heard_boot_s = started_boot_s
        self._standing = Standing()
        self._better_in_a_row = 0
        self.error = ""

    def hear(self, status: ExchangeStatus) -> None:
        self.error = status.error if not status.reachable else ""
        if not status.reachable:
            return
        self._heard_boot_s = max(self._heard_boot_s, status.read_boot_s)
        new = judged(status, self.settings)
        if new.effect >= self._standing.effect:
            self._standing, self._better_in_a_row = new, 0
            return
        self._better_in_a_row += 1
        if self._better_in_a_row >= self.settings.healthy_readings_min:
            self._standing, self._better_in_a_row = new, 0

    def standing(self, now_boot_s: float) -> Standing:
        silence_s = now_boot_s - self._heard_boot_s
        if not self._asked or silence_s <= self.settings.status_silence_s_max:
            return self._standing
        reason = f"status page silent for {silence_s / 60.0:.0f} min"
        if self._standing.effect >= Effect.CLAMP:
            return Standing(self._standing.effect, (*self._standing.reasons, reason))
        return Standing(Effect.CLAMP, (reason,))
