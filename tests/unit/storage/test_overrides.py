"""Limits that operators set, as rows over the settings, on either database."""

import msgspec
import pytest

from config.settings import Settings
from storage import overrides
from storage.overrides import Override
from storage.store import Store

pytestmark = pytest.mark.feature("PA-206")
SETTINGS = msgspec.convert(
    {
        "agent": {"name": "here"},
        "sites": {"s": {"storage": {"kind": "posix"}, "targets": {"t": {"kind": "local"}, "u": {"kind": "local"}}}},
    },
    Settings,
)


async def test_the_last_word_counts_and_can_be_taken_back(store: Store) -> None:
    one, other = Override("t", "merge", 3, "ann", "x" * 600, 1.0), Override("t", "cores", None, "bob", "", 2.0)
    for each in (one, one._replace(value=4, since=3.0), other, Override("gone", "merge", 1, "ann", "", 4.0)):
        await store.write(lambda tx, each=each: overrides.put(tx, each))
    known = await store.read(overrides.load)
    assert known == [
        Override("gone", "merge", 1, "ann", "", 4.0),
        other,
        one._replace(value=4, since=3.0, reason="x" * 500),
    ]
    targets = overrides.over(SETTINGS, known).sites["s"].targets
    assert (targets["t"].limits.merge, targets["t"].limits.processing, targets["u"]) == (
        4, 100, SETTINGS.sites["s"].targets["u"],
    )  # fmt: skip
    gone, *_ = overrides.views(known, SETTINGS)
    assert (gone.known, gone.configured) == (False, None)
    await store.write(lambda tx: overrides.forget(tx, ["gone"]))
    assert await store.write(lambda tx: overrides.take_back(tx, "t", "merge"))
    assert not await store.write(lambda tx: overrides.take_back(tx, "t", "merge"))
    assert await store.read(overrides.load) == [other]
    assert overrides.over(SETTINGS, []) is SETTINGS


def test_what_another_release_could_set_changes_nothing() -> None:
    odd = [Override("t", "gpus", 3, "ann", "", 1.0), Override("t", "cores", 0, "ann", "", 1.0)]
    assert overrides.over(SETTINGS, odd) == SETTINGS
    assert [one.configured for one in overrides.views(odd, SETTINGS)] == [None, None]
