"""After each test of the actor core nothing is left: no actor, no thread, no event loop task."""

import asyncio
import gc
import threading
from weakref import WeakSet

import pykka
import pytest

BLAMED: "WeakSet[asyncio.Task]" = WeakSet()
"""Tasks that an earlier test left, and failed for."""


@pytest.fixture(autouse=True)
def nothing_is_left():
    threads = set(threading.enumerate())
    yield
    left = pykka.ActorRegistry.get_all()
    for ref in left:
        pykka.ActorRegistry.unregister(ref)
    assert not left, f"actors are left: {left}"
    new = [thread for thread in set(threading.enumerate()) - threads if not thread.daemon]
    for thread in new:
        thread.join(1.0)
    new = [thread for thread in new if thread.is_alive()]
    assert not new, f"threads are left: {new}"
    tasks = {item for item in gc.get_objects() if isinstance(item, asyncio.Task) and not item.done()} - set(BLAMED)
    BLAMED.update(tasks)
    assert not tasks, f"tasks are left: {tasks}"
