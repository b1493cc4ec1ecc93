"""Venue time: an anchor and the boot clock; it never goes back, and is trusted only while it deserves it (DESIGN section 7)."""

from __future__ import annotations

import os

import pytest

from actors import clock as clocks
from actors.clock import Anchor, Clock, boot_id, read_anchor, write_anchor
from actors.held import HELD_MAX, HELD_S_MAX, Held


@pytest.fixture
def boot(monkeypatch):
    """The boot clock under the test's hand."""
    at = [1000.0]
    monkeypatch.setattr(clocks, "boot_s", lambda: at[0])
    return at


def _anchor(tmp_path, venue_s, boot_s, **said):
    write_anchor(tmp_path, Anchor(venue_s=venue_s, boot_s=boot_s, boot_id=boot_id(), **said))
    os.utime(tmp_path / "anchor.json", ns=(int(boot_s * 1e9), int(boot_s * 1e9)))


def test_before_the_first_anchor_nothing_is_trusted(tmp_path, boot):
    now = Clock(tmp_path).now()
    assert not now.trusted
    assert not now.over(0.0)


def test_venue_time_runs_at_the_venues_speed_from_the_anchor_on(tmp_path, boot):
    _anchor(tmp_path, 5000.0, 990.0, speed=60.0)
    clock = Clock(tmp_path)
    assert clock.now().venue_s == 5000.0 + 10 * 60
    boot[0] += 1.5
    assert clock.now().venue_s == 5000.0 + 11.5 * 60
    assert clock.now().trusted


def test_a_new_anchor_that_lies_behind_never_turns_time_back_and_costs_trust_until_it_has_caught_up(tmp_path, boot):
    _anchor(tmp_path, 5000.0, 1000.0)
    clock = Clock(tmp_path)
    boot[0] = 1010.0
    assert clock.now().venue_s == 5010.0
    _anchor(tmp_path, 4990.0, 1010.0)
    boot[0] = 1011.0
    now = clock.now()
    assert (now.venue_s, now.trusted) == (5010.0, False)
    boot[0] = 1030.0
    now = clock.now()
    assert (now.venue_s, now.trusted) == (5010.0, True)
    boot[0] = 1031.0
    assert clock.now().venue_s == 5011.0


def test_a_small_step_back_keeps_trust(tmp_path, boot):
    _anchor(tmp_path, 5000.0, 1000.0)
    clock = Clock(tmp_path)
    boot[0] = 1010.0
    clock.now()
    _anchor(tmp_path, 5009.8, 1010.0)
    boot[0] = 1010.3
    now = clock.now()
    assert now.trusted
    assert now.venue_s >= 5010.0


def test_a_clock_below_what_was_acted_on_before_is_not_trusted(tmp_path, boot):
    _anchor(tmp_path, 5000.0, 1000.0)
    clock = Clock(tmp_path)
    clock.expect(9000.0)
    assert not clock.now().trusted
    boot[0] = 5001.0
    assert clock.now().trusted


def test_a_failed_drift_check_takes_trust_away_and_a_passed_one_gives_it_back(tmp_path, boot):
    _anchor(tmp_path, 5000.0, 1000.0, trusted=False, drift_s=2.0)
    clock = Clock(tmp_path)
    assert not clock.now().trusted
    _anchor(tmp_path, 5001.0, 1001.0)
    boot[0] = 1002.0
    assert clock.now().trusted


@pytest.mark.parametrize(
    "text", ["", "{", '{"venue_s": 1}', '{"venue_s": 1.0, "boot_s": 1.0, "boot_id": "another boot"}']
)
def test_an_anchor_of_another_boot_or_none_that_can_be_read_is_no_anchor(tmp_path, text):
    (tmp_path / "anchor.json").write_text(text)
    assert read_anchor(tmp_path) is None


def test_mail_for_a_role_that_is_not_announced_yet_waits_a_moment_in_order_and_not_for_ever():
    held = Held()
    for number in range(3):
        held.put("catalog", number, 10.0 + number)
    assert held.take("catalog", 10.5 + HELD_S_MAX) == [1, 2]
    assert held.take("catalog", 11.0) == []
    for number in range(HELD_MAX + 5):
        held.put("oms", number, 20.0)
    assert held.take("oms", 20.0)[0] == 5
    assert held.lost == {"catalog": 1, "oms": 5}
