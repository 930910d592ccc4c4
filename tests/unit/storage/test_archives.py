"""Where the archives of attempts are, how long they stay, and what a death at the wrong moment leaves (PA-414)."""

import gzip
import stat
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from domain.archive import Archived, Kind, Model, Models, Term, reported, specification
from domain.escalation import Need
from domain.job import JobType
from domain.jobspec import Surroundings
from domain.ranges import Range
from domain.report import JobReport
from storage import archives, attempts, schema
from storage.archives import Volume
from storage.attempts import Failure
from storage.volumes import VolumeGone, Volumes
from tests.unit.storage.conftest import Campaign, make_spec

pytestmark = pytest.mark.feature("PA-414")
DAY = 86_400.0
TERM = Term(30 * DAY, 90 * DAY, 1e9)


async def attempt_ids(campaign: Campaign) -> list[int]:
    return await campaign.read(lambda c: list(c.execute(sa.select(schema.attempt.c.id).order_by("id")).scalars()))


async def names(campaign: Campaign, term: Term = TERM, limit: int = 100) -> list[str]:
    """Return the volumes that may go now."""
    return [one.name for one in await campaign.read(lambda c: archives.old(c, term, campaign.clock.now, limit))]


async def test_successes_stay_for_a_month_and_failures_for_three(campaign: Campaign) -> None:
    ids = await campaign.at_target(4)
    one, two, three, _ = await attempt_ids(campaign)
    made = [
        Volume("good", Kind.SUCCESS, 10, [one, two]),
        Volume("bad", Kind.FAILURE, 10, [three]),
        Volume("/store/logs/x.tar.gz", Kind.SUCCESS, 1000, [one], "A"),
    ]
    await campaign.write(lambda tx: archives.note(tx, made))
    assert [kept.name for kept in await campaign.read(lambda c: archives.of_jobs(c, ids))] == [
        "good",
        "/store/logs/x.tar.gz",
        "good",
        "bad",
    ]
    campaign.clock.wind(30 * DAY - 100)
    assert await names(campaign) == []
    campaign.clock.wind(200)
    assert sorted(await names(campaign)) == ["/store/logs/x.tar.gz", "good"]
    campaign.clock.wind(60 * DAY)
    gone = await campaign.read(lambda c: archives.old(c, TERM, campaign.clock.now, 100))
    await campaign.write(lambda tx: archives.forget(tx, [each.id for each in gone]))
    await campaign.write(lambda tx: archives.forget(tx, [each.id for each in gone]))
    assert await campaign.read(lambda c: archives.of_jobs(c, ids)) == []


async def test_beyond_the_most_bytes_the_oldest_go_first_and_sites_do_not_count(campaign: Campaign) -> None:
    await campaign.at_target(5)
    owners = await attempt_ids(campaign)
    for number, owner in enumerate(owners):
        volume = Volume(f"v{number}", Kind.FAILURE if number % 2 else Kind.SUCCESS, 100, [owner])
        await campaign.write(lambda tx, v=volume: archives.note(tx, [v]))
    far = Volume("/store/logs/y", Kind.FAILURE, 10**9, [owners[0]], "A")
    await campaign.write(lambda tx: archives.note(tx, [far]))
    assert await names(campaign, TERM._replace(most_bytes=500)) == []
    assert await names(campaign, TERM._replace(most_bytes=499)) == ["v0"]
    assert await names(campaign, TERM._replace(most_bytes=250)) == ["v0", "v1", "v2"]
    assert await names(campaign, TERM._replace(most_bytes=250), limit=2) == ["v0", "v1"]
    assert await campaign.read(archives.taken) == 500


async def test_a_volume_is_booked_once_and_kept_as_a_failure_if_it_holds_one(campaign: Campaign) -> None:
    """An attempt that seemed good may be found bad as it is booked: its archive stays as long as that of a failure."""
    ids = await campaign.at_target(3)
    one, two, three = await attempt_ids(campaign)
    await campaign.write(lambda tx: attempts.fail(tx, [Failure(ids[1], 1, "it failed")]))
    for owners in ([one], [one, three], [one, two, three]):
        await campaign.write(lambda tx, o=owners: archives.note(tx, [Volume("v", Kind.SUCCESS, 10, o)]))
    kept = await campaign.read(lambda c: archives.of_jobs(c, ids))
    assert [(each.job, each.kind, each.outcome) for each in kept] == [
        (ids[0], "failure", None),
        (ids[1], "failure", "failed"),
        (ids[2], "failure", None),
    ]


async def test_failures_without_a_report_are_found_until_they_are_archived(campaign: Campaign) -> None:
    ids = await campaign.at_target(3)
    await campaign.write(lambda tx: attempts.fail(tx, [Failure(ids[0], 90008, "gone")], outcome="lost"))
    await campaign.write(lambda tx: attempts.fail(tx, [Failure(ids[1], 1, "bad", "the log")]))
    every = await attempt_ids(campaign)
    lacking = await campaign.read(lambda c: archives.lacking(c, every))
    assert [(each.job, each.code, each.log) for each in lacking] == [(ids[0], 90008, None), (ids[1], 1, "the log")]
    await campaign.write(lambda tx: archives.note(tx, [Volume("v", Kind.FAILURE, 10, [lacking[0].id])]))
    assert [each.job for each in await campaign.read(lambda c: archives.lacking(c, every))] == [ids[1]]
    assert await campaign.read(lambda c: archives.booked(c, ["v", "w"])) == {"v"}


# ---------------------------------------------------------------- files
REPORT = JobReport(schema=1, token="t1", job=17, exit_code=0, started_at=1.0, ended_at=2.0)


def archived(token: str = "t1", **changes: object) -> Archived:
    given = {"job": 17, "attempt": 2, "token": token, "workflow": "w", "type": JobType.PROCESSING, "site": "A",
             "target": "A.batch", "range": Range(1601, 100), "model": "m", "need": Need(3000, 60), "closed_at": 5.0,
             "report": msgspec.Raw(msgspec.json.encode(REPORT))}  # fmt: skip
    return Archived(**(given | changes))  # type: ignore[arg-type]


def models() -> Models:
    return {
        "m": Model(workflow="w", spec=make_spec(), surroundings=Surroundings(None, {"A": "b"}, [{"kind": "posix"}]))
    }


def test_a_volume_gives_back_report_and_specification(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path)
    name = volumes.name(Kind.SUCCESS, "abcdef")
    size = volumes.put(name, models(), [archived("t1"), archived("t2", model="")])
    path = volumes.path(name)
    assert path.parent.name == "ab"
    assert path.stat().st_size == size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known, (one, other) = volumes.read(name)
    assert msgspec.json.decode(one.report, type=JobReport) == REPORT
    spec = specification(known, one)
    assert spec is not None
    assert (spec["token"], spec["job"], spec["limits"]["memory_mb"], spec["environment"]) == (
        "t1",
        17,
        3000,
        {"A": "b"},
    )
    assert specification(known, other) is None
    with gzip.open(path) as source:
        assert len(source.readlines()) == 3


@pytest.mark.parametrize("harm", ["gone", "torn", "empty", "other"])
def test_a_volume_that_cannot_be_read_is_named(tmp_path: Path, harm: str) -> None:
    volumes = Volumes(tmp_path)
    volumes.put("t1-success", models(), [archived()])
    path = volumes.path("t1-success")
    match harm:
        case "gone":
            volumes.remove(["t1-success", "never-there"])
        case "torn":
            path.write_bytes(path.read_bytes()[:-20])
        case "empty":
            path.write_bytes(b"")
        case _:
            path.write_bytes(gzip.compress(b"{}\n[]\n"))
    with pytest.raises(VolumeGone, match="t1-success"):
        volumes.read("t1-success")


def test_what_processes_before_left_is_swept_away_once(tmp_path: Path) -> None:
    """Not what is booked, nor what is written again while the books are read."""
    before = Volumes(tmp_path)
    names = [before.name(Kind.FAILURE, token) for token in ("aa1", "aa2", "bb3")]
    for name in names:
        before.put(name, {}, [])
    draft = before.path("cc4-success").with_name(".cc4-success.jsonl.gz")
    draft.parent.mkdir()
    draft.write_bytes(b"half")
    after = Volumes(tmp_path)
    assert after.strays() == [*names, "cc4-success"]
    after.put(after.name(Kind.FAILURE, "aa1"), {}, [])
    after.sweep([name for name in [*names, "cc4-success"] if name != "bb3-failure"])
    assert {path.name for path in tmp_path.glob("*/*")} == {"aa1-failure.jsonl.gz", "bb3-failure.jsonl.gz"}
    assert after.strays() == []
    assert Volumes(tmp_path / "none").strays() == []


@pytest.mark.parametrize(
    ("raw", "report", "unread"),
    [
        (None, b"null", ""),
        (b'{"a":\n 1}', b'{"a":1}', ""),
        (b"torn {", b"null", "torn {"),
        (b"\xff" * 100_000, b"null", "\N{REPLACEMENT CHARACTER}" * 65_536),
    ],
)
def test_a_report_that_is_none_is_kept_as_text(raw: bytes | None, report: bytes, unread: str) -> None:
    kept, text = reported(raw, read=False)
    assert (bytes(kept), text) == (report, unread)
