"""We stand on private names of Thespian 4.0.1. When their source changes, somebody must read the change before this is updated."""

from __future__ import annotations

import hashlib
import importlib
import inspect

import pytest

READ = {
    "thespian.actors": "cdb2fcd9091be118",
    "thespian.system.actorManager": "ef63efe7ab4f9b5e",
    "thespian.system.addressManager": "bde03286ba816a81",
    "thespian.system.admin.adminCore": "7a805625903e45bb",
    "thespian.system.multiprocCommon": "fe2c4c348eac187d",
    "thespian.system.systemBase": "778f900603739440",
    "thespian.system.systemCommon": "6d8a54fdf089d749",
    "thespian.system.transport": "432692dd0d8969b9",
}


@pytest.mark.parametrize("name", sorted(READ))
def test_thespians_source_is_the_one_that_was_read(name):
    source = inspect.getsource(importlib.import_module(name))
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == READ[name], (
        f"{name} has changed: read it against unix_base.py"
    )
