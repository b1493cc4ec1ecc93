"""The protections of protocol.md, each of which the fault simulation can take out to see whether anything notices.

Nothing but `simulation/` ever passes anything other than `Protections()`. A machine asks for a flag at the one place
where the protection acts; a flag that no machine asks belongs to a host or to the venue's side of the simulation.
"""

from __future__ import annotations

from attrs import evolve, fields, frozen


@frozen(kw_only=True)
class Protections:
    """True: in force. The comment names who asks and what goes wrong without it."""

    save_then_send: bool = True  # host: effects leave before they are committed
    role_lock: bool = True  # host: a replacement is ready while the old process lives
    incarnation_check: bool = True  # host: mail of older incarnations is believed
    binding: bool = True  # gateway: posts what was bound to another incarnation; oms: binds nothing
    send_by: bool = True  # gateway: posts what is late
    kill_check: bool = True  # gateway and oms: posts and admits while killed
    fences: bool = True  # gateway: ignores drain, guardian and beat fences
    one_post: bool = True  # gateway and oms: an unknown outcome is posted again as a question
    withdraw: bool = True  # oms: says Hello, withdraws nothing, repeats PlaceOrder after a restart
    version_check: bool = True  # oms: admits what was judged on an old book
    unique_proposal: bool = True  # oms: admits the same proposal twice
    caps_assert: bool = True  # oms: trusts risk's arithmetic
    unknown_counts: bool = True  # oms: an UNKNOWN order holds no notional and bars nothing
    horizon: bool = True  # oms: believes the first absent ask
    existence: bool = True  # oms: a late NotSent or Unknown takes existence back
    complete_pages: bool = True  # oms: a partial listing proves absence
    gtd: bool = True  # oms: orders that may rest carry no end_time
    dedupe: bool = True  # oms: books a fill as often as it is told
    lost_book: bool = True  # oms: an empty book in the place of a lost one believes the first listing
    reconcile: bool = True  # oms: asks nothing at start, after resets and in between
    seen: bool = True  # oms: a fill counts only when booked
    reduces_only: bool = True  # oms: sells what exits ask, also twice
    cooldowns: bool = True  # oms: does not look at cooldowns and bans
    cancel_repeat: bool = True  # oms: asks for a cancel once
    ttl: bool = True  # oms: lets what rests rest until its end_time
    leaving_active: bool = True  # oms: resting entries stay when entries are no longer allowed
    lease: bool = True  # risk: uses permissions of any age
    quote_age: bool = True  # risk, exits: use quotes of any age
    kill_sweep: bool = True  # kill_switch: does not sweep
    latch: bool = True  # kill_switch: deleting the file re-arms
    guardian: bool = True  # guardian: does not fire

    def without(self, *names: str) -> Protections:
        """These protections taken out. Raises ValueError that names an unknown one and lists those there are."""
        known = PROTECTIONS
        for name in names:
            if name not in known:
                raise ValueError(f"{name!r} is not a protection; there are {', '.join(known)}")
        return evolve(self, **dict.fromkeys(names, False))


PROTECTIONS: tuple[str, ...] = tuple(a.name for a in fields(Protections))
