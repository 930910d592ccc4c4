"""On which store a test's agents run, and the end of the jobs that outlive them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime import process
from tests.integration.agent import STORE
from tests.real.mariadb import PASSWORD, MariaServer


@pytest.fixture(params=["sqlite", "mariadb"])
def both_stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test twice: its agents keep their store in a file, then on a server."""
    if request.param == "sqlite":
        yield
        return
    server: MariaServer = request.getfixturevalue("maria")
    monkeypatch.setenv("STORE_PASSWORD", PASSWORD)
    token = STORE.set(server.reference(request.getfixturevalue("maria_url")()))
    yield
    STORE.reset(token)


@pytest.fixture(autouse=True)
def no_job_stays(tmp_path: Path) -> Iterator[None]:
    """Kill the jobs of a test that has ended: they outlive their agent, and some sleep for minutes."""
    yield
    for one in list(process.everyone()):
        with suppress(OSError):
            words = Path("/proc", str(one.pid), "cmdline").read_bytes()
            if b"/runtime-" in words and f"{tmp_path}/".encode() in words and one.session != os.getsid(0):
                process.kill_session(one.session)
