"""The deterministic fault simulation: the safety machines, a lying venue, every death; invariants after every event."""
