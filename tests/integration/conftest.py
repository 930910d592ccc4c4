"""On which store a test's agents run."""

from collections.abc import Iterator

import pytest

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
