"""What all tests share: nothing may be left running, and the list of what proves which acceptance row."""

import asyncio
import inspect
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--features", action="store_true", help="print the acceptance rows and the tests that prove them")


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.getoption("--features"):
        return
    proofs: dict[str, set[str]] = defaultdict(set)
    for item in session.items:
        for marker in item.iter_markers("feature"):
            for row in marker.args:
                proofs[row].add(item.nodeid.partition("[")[0])
    for row in sorted(proofs):
        print(f"{row}  {len(proofs[row])} tests")
        for proof in sorted(proofs[row]):
            print(f"        {proof}")
    print(f"{len(proofs)} rows")
    session.items.clear()
    session.config.pluginmanager.get_plugin("terminalreporter")
    pytest.exit("", returncode=0)


@pytest.fixture
async def task_watch() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and not task.done()]
    assert not left, f"tasks left running: {left}"


@pytest.fixture(autouse=True)
def no_task_is_left(request: pytest.FixtureRequest) -> None:
    """Fail an asynchronous test that leaves a task behind."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("task_watch")
