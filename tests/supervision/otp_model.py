"""OTP's rules a second time, written to be read beside supervisor.erl: sequential, blocking, no actions, no states in between.

Every child starts and stops in no time. What a start does is decided by `refusing` and `ignoring`, the same sets that the
shell of the real core is told.
"""

from __future__ import annotations


class Ended(Exception):  # noqa: N818
    """The supervisor has terminated."""


class OtpModel:
    def __init__(self, specs, strategy, intensity, period, auto_shutdown="never"):
        self.strategy, self.intensity, self.period, self.auto = strategy, intensity, period, auto_shutdown
        self.specs = {spec.id: spec for spec in specs}
        self.up = dict.fromkeys(self.specs, False)
        self.restarting = set()
        self.times = []
        self.refusing, self.ignoring = set(), set()
        self.now = 0.0
        self.ended = None

    # start/1 of one child: True up, False ignored, None refused
    def start(self, child_id):
        if child_id in self.ignoring:
            return False
        return None if child_id in self.refusing else True

    def boot(self):
        for child_id in list(self.specs):
            result = self.start(child_id)
            if result is None:
                self.ended = "start_failed"
                raise Ended
            self.put(child_id, result)

    def put(self, child_id, result):
        self.restarting.discard(child_id)
        if result is False and self.specs[child_id].restart == "temporary":
            self.forget(child_id)
        else:
            self.up[child_id] = result

    def forget(self, child_id):
        del self.specs[child_id], self.up[child_id]
        self.restarting.discard(child_id)

    # handle_info({'EXIT', ...}) -> restart_child/3
    def exit(self, child_id, orderly):
        self.up[child_id] = False
        spec = self.specs[child_id]
        if spec.restart == "permanent" or (spec.restart == "transient" and not orderly):
            self.restart(child_id)
            return
        if spec.restart == "temporary":
            self.forget(child_id)
        if spec.significant:
            others = [other for other, known in self.specs.items() if known.significant and self.up[other]]
            if self.auto == "any_significant" or (self.auto == "all_significant" and not others):
                self.end("shutdown")

    # restart/2: add_restart, then the strategy; a failed attempt is tried again at once
    def restart(self, child_id):
        while True:
            self.times = [self.now] + [at for at in self.times if at >= self.now - self.period]
            if len(self.times) > self.intensity:
                self.end("shutdown")
            failed = self.attempt(child_id)
            if failed is None:
                return
            child_id = failed

    def attempt(self, child_id):
        order = list(self.specs)
        if self.strategy == "one_for_one":
            affected = [child_id]
        elif self.strategy == "one_for_all":
            affected = order
        else:
            affected = order[order.index(child_id) :]
        for other in list(affected):
            self.up[other] = False
            if other != child_id and self.specs[other].restart == "temporary":
                affected.remove(other)
                self.forget(other)
        for other in affected:
            result = self.start(other)
            if result is None:
                self.restarting.add(other)
                return other
            self.put(other, result)
        return None

    def end(self, how):
        self.ended = how
        raise Ended

    # the API
    def start_child(self, spec):
        if spec.id in self.specs:
            return "already_started" if self.up[spec.id] else "already_present"
        result = self.start(spec.id)
        if result is None:
            return "start_failed"
        self.specs[spec.id], self.up[spec.id] = spec, False
        self.put(spec.id, result)
        return result

    def terminate_child(self, child_id):
        if child_id not in self.specs:
            return "not_found"
        self.up[child_id] = False
        if self.specs[child_id].restart == "temporary":
            self.forget(child_id)
        return None

    def restart_child(self, child_id):
        if child_id not in self.specs:
            return "not_found"
        if self.up[child_id]:
            return "running"
        result = self.start(child_id)
        if result is None:
            return "start_failed"
        self.up[child_id] = result
        return result

    def delete_child(self, child_id):
        if child_id not in self.specs:
            return "not_found"
        if self.up[child_id]:
            return "running"
        self.forget(child_id)
        return None
