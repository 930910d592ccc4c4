"""What all tests share: nothing may be left running, and the list of what proves which acceptance row."""

import asyncio
import inspect
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from storage.schema import AGENT, Schema
from storage.store import Store
from tests.real.mariadb import MariaServer

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # what a test is slow of here is the machine, which others use too


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


@pytest.fixture(scope="session")
def maria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaServer]:
    """One throw-away server for the session; a test that kills it starts it again."""
    assert MariaServer.installed(), "mariadbd is not installed: make system"
    server = MariaServer(tmp_path_factory.mktemp("maria")).install()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def maria_template(maria: MariaServer) -> Callable[[Schema], str]:
    """Return the address of a database with the tables of a kind of store; made once, since migrations take a second."""
    made: dict[str, str] = {}

    async def fill(url: str, kind: Schema) -> None:
        await (await Store.open(url, kind)).close()

    def template(kind: Schema) -> str:
        if kind.name not in made:
            made[kind.name] = maria.make()
            with ThreadPoolExecutor(1) as aside:  # the caller's thread may have a loop that runs
                aside.submit(lambda: asyncio.run(fill(made[kind.name], kind))).result()
        return made[kind.name]

    return template


@pytest.fixture
def maria_url(maria: MariaServer, maria_template: Callable[[Schema], str]) -> Iterator[Callable[[Schema], str]]:
    """Make databases for this test alone, with their tables."""
    made: list[str] = []

    def make(kind: Schema = AGENT) -> str:
        made.append(maria.copy(maria_template(kind)))
        return made[-1]

    yield make
    for url in made:
        maria.drop(url)


@pytest.fixture(params=["sqlite", "mariadb"])
def new_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """Return where a fresh store of a kind may be, on either database: what uses this runs on both."""
    if request.param == "sqlite":
        return lambda kind=AGENT: f"sqlite:///{tmp_path / kind.name}.db"
    return request.getfixturevalue("maria_url")  # type: ignore[no-any-return]


@pytest.fixture
def store_url(new_store_url: Callable[..., str]) -> str:
    """Where the store of an agent may be."""
    return new_store_url()
