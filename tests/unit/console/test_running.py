"""What surrounds an agent that runs."""

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from services.console.running import wait_without_threads


@pytest.fixture
def as_before() -> Iterator[None]:
    yield
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(None)


@pytest.mark.feature("REL-08")
def test_a_child_costs_no_thread_and_its_end_is_seen(as_before: None) -> None:
    async def threads_of_a_child() -> set[str]:
        before = set(threading.enumerate())
        child = await asyncio.create_subprocess_exec("sleep", "600")
        fresh = {one.name for one in set(threading.enumerate()) - before}
        child.kill()
        assert await child.wait() == -9
        return fresh

    wait_without_threads()
    assert asyncio.run(threads_of_a_child()) == set()
