"""Trees that are gone after each test, whatever happened."""

from __future__ import annotations

import contextlib
import os

import pytest

import supervision
from supervision import ChildSpec, SupervisorSpec
from supervision.processes import descendants
from tests.supervision.actors import Obedient


@pytest.fixture
def plant():
    """Start trees: `plant(*children, strategy=..., options={...})`; every process of them must be gone afterwards."""
    trees = []

    def start(*children, options=None, **spec):
        tree = supervision.start(SupervisorSpec(children=children, **spec), **(options or {}))
        trees.append(tree)
        return tree

    before = set(descendants(os.getpid()))
    yield start
    for tree in trees:
        with contextlib.suppress(Exception):
            tree.kill_all()
    assert set(descendants(os.getpid())) - before == set()


def child(child_id, **fields):
    fields.setdefault("start", Obedient)
    return ChildSpec(child_id, **fields)


def pid_of(tree, child_id, supervisor="root"):
    return {row.id: row.pid for row in tree.which_children(supervisor=supervisor)}[child_id]
