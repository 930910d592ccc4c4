"""The kinds of failure stay few, whatever fails where, and what is added up stays true."""

import pytest
import sqlalchemy as sa

from domain.rules import UNKNOWN
from storage import attempts, causes, schema, views
from storage.causes import FRESH_S, OTHERS
from storage.transaction import Tx
from tests.unit.storage.conftest import Campaign

NODES = 12


async def failing(campaign: Campaign, texts: int = 2) -> list[int]:
    """Let node n fail n + 1 times with each of some messages; return the jobs in turn."""
    ids = await campaign.at_target(10)
    pairs = [(node, text) for node in range(NODES) for text in "abcdefgh"[:texts]]
    await fail(campaign, ids[0], *((f"n{node:02d}", f"{text} went wrong", node + 1) for node, text in pairs))
    return ids


async def fail(campaign: Campaign, owner: int, *failures: tuple[str, str, int]) -> None:
    """Book failures of one job, each (node, message, how often), as if it had been tried so often."""
    live = (schema.attempt.c.job_id == owner, schema.attempt.c.live == 1)

    def book(tx: Tx) -> None:
        for node, text, times in failures:
            tx.connection.execute(schema.attempt.update().where(*live).values(node=node))
            for _ in range(times):
                causes.note(tx, "failed", {owner: (134, text, UNKNOWN)})

    await campaign.write(book)


async def squeeze(campaign: Campaign, most: int, enough: int, later: float = 0.0) -> int:
    rare = await campaign.read(lambda c: causes.surplus(c, campaign.clock.now + later, most, enough))
    return await campaign.write(lambda tx: causes.add_up(tx, rare)) if rare else 0


def by(*names: str):
    return lambda c: views.causes(c, limit=100, by=names)


async def sums(campaign: Campaign, *names: str) -> dict[tuple[object, ...], int]:
    found = await campaign.read(by(*names))
    return {tuple(getattr(one, "pattern" if n == "fingerprint" else n) for n in names): one.count for one in found}


@pytest.mark.feature("PA-416")
async def test_nodes_with_few_failures_are_added_up_and_the_others_stay_whole(campaign: Campaign) -> None:
    await failing(campaign)
    before = await campaign.read(by("exit_code", "blame", "site", "fingerprint"))
    whole = await sums(campaign, "site", "node")
    assert await squeeze(campaign, most=24, enough=12) == 0
    assert await squeeze(campaign, most=23, enough=12) == 12
    assert await campaign.read(by("exit_code", "blame", "site", "fingerprint")) == before
    after = await sums(campaign, "site", "node")
    assert after.pop(("A", OTHERS)) == 2 * sum(range(1, 7))
    assert after == {key: count for key, count in whole.items() if key[1] >= "n06"}


@pytest.mark.feature("PA-416")
async def test_a_node_that_fails_now_stays_before_one_that_failed_often_long_ago(campaign: Campaign) -> None:
    ids = await failing(campaign, texts=1)
    campaign.clock.wind(2 * FRESH_S)
    await fail(campaign, ids[0], ("new", "a went wrong", 1))
    assert await squeeze(campaign, most=12, enough=3) == 10
    assert {node for (node,) in await sums(campaign, "node")} == {"new", "n10", "n11", OTHERS}


@pytest.mark.feature("PA-416")
async def test_rare_patterns_are_added_up_when_nodes_do_not_help(campaign: Campaign) -> None:
    """Each message is another pattern: also what was added up by node already is bounded."""
    ids = await campaign.at_target(3)
    words = [chr(97 + number % 26) * (1 + number // 26) for number in range(26 * 2)]
    rare = ((f"n{number % 5}", word, 3 if number == 7 else 1) for number, word in enumerate(words))
    await fail(campaign, ids[0], *rare)
    for _ in range(6):
        await squeeze(campaign, most=10, enough=8)
    patterns = await campaign.read(by("fingerprint"))
    assert 2 < len(patterns) <= 10
    assert sum(one.count for one in patterns) == 54
    (others,) = [one.count for one in patterns if one.pattern == OTHERS]
    assert others >= 44
    assert max(one.count for one in patterns if one.pattern != OTHERS) == 3
    assert sum((await sums(campaign, "exit_code", "site")).values()) == 54
    assert await squeeze(campaign, most=10, enough=8) == 0


@pytest.mark.feature("PA-416")
async def test_the_books_hold_after_causes_were_added_up(campaign: Campaign) -> None:
    ids = await campaign.at_target(10)
    texts = ["disk full", "segmentation fault", "no licence"]
    for number, owner in enumerate(ids):
        found = attempts.Failure(owner, 134, texts[number % 3])
        await campaign.write(lambda tx, one=found: attempts.fail(tx, [one]))
    rows = await campaign.read(lambda c: c.execute(sa.select(schema.cause.c.id)).scalars().all())
    first, last = campaign.clock.now - 9.0, campaign.clock.now
    assert await campaign.write(lambda tx: causes.add_up(tx, rows[:1])) == 1
    assert await campaign.write(lambda tx: causes.add_up(tx, rows[1:])) == 2
    again = await campaign.read(lambda c: c.execute(sa.select(schema.cause.c.id)).scalars().all())
    assert await campaign.write(lambda tx: causes.add_up(tx, again)) == 3
    (one,) = await campaign.read(by("fingerprint", "node"))
    assert (one.count, one.first_at, one.last_at, one.pattern, one.node) == (10, first, last, OTHERS, OTHERS)
    assert (one.job, one.example) == (ids[-1], "disk full")
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-416")
async def test_units_take_no_more_than_their_share(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "CHUNK", 5)
    await failing(campaign)
    rare = await campaign.read(lambda c: causes.surplus(c, campaign.clock.now, 10, 4))
    assert await campaign.write(lambda tx: causes.add_up(tx, rare)) == 5
