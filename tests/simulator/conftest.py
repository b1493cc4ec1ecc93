from __future__ import annotations

import pytest

from tests.simulator.venue_process import VenueProcess


@pytest.fixture(scope="session")
def shared_venue(tmp_path_factory):
    """One quiet venue for all tests that only ask."""
    with VenueProcess(tmp_path_factory.mktemp("venue")) as venue:
        yield venue


@pytest.fixture()
def venue(shared_venue):
    """The shared venue without any fault of the test before."""
    shared_venue.door("DELETE", "faults")
    shared_venue.unlimited()
    yield shared_venue
    shared_venue.door("DELETE", "faults")
