"""What operators see is what the store says."""

from collections.abc import AsyncIterator

import pytest

from domain.file import FileKind, FileState
from domain.job import JobState
from domain.transfer import TransferState
from storage import transfers, views
from storage.store import Store
from storage.views import Unknown, WorkflowView
from tests.unit.admin import filled


@pytest.fixture
async def full(tmp_path) -> AsyncIterator[Store]:
    opened = await filled.opened(tmp_path)
    yield opened
    await opened.close()


async def flow(store: Store, name: str = "zmumu") -> WorkflowView:
    return (await store.read(lambda c: views.status(c, 2e9, name)))[0]


@pytest.mark.feature("OPS-06")
async def test_the_ledger_adds_up(full: Store) -> None:
    seen = await flow(full)
    assert (seen.requested, seen.allocated, seen.generated, seen.merged) == (20_000, 20_000, 4000, 3000)
    assert (seen.delivered, seen.lost) == (0, 2000)
    assert seen.allocated == seen.merged + seen.in_progress + seen.lost
    assert sum(seen.jobs.values()) == 21
    assert seen.files == {"catalogued": 1, "merged": 3, "unmerged": 1}
    assert seen.transfers == {"wanted": 1}
    assert seen.eta is not None
    assert (await flow(full, "held")).eta is None


async def test_delivered_means_a_verified_copy_at_every_destination(full: Store) -> None:
    def deliver(tx) -> None:
        (task,) = transfers.load(tx.connection, [TransferState.WANTED])
        transfers.offer(tx, [task.id])
        task = transfers.begin(tx, task)
        transfers.landed(tx, task)
        transfers.verified(tx, task, "read back")

    await full.write(deliver)
    assert (await flow(full)).delivered == 3000


async def test_totals_are_the_sums_of_the_workflows(full: Store) -> None:
    totals = await full.read(lambda c: views.totals(c, 2e9))
    assert (totals.requested, totals.allocated, totals.merged) == (40_000, 22_000, 3000)
    assert totals.jobs["new"] == 2


async def test_an_empty_store_has_empty_answers(store: Store) -> None:
    assert await store.read(lambda c: views.status(c, 0.0)) == []
    assert await store.read(lambda c: views.totals(c, 0.0)) == views.Totals()
    for ask in (
        views.jobs_by_site,
        views.causes,
        views.failures,
        views.open_alerts,
        views.dead_letters,
        views.datasets,
    ):
        assert await store.read(ask) == []
    with pytest.raises(Unknown, match="none has been made yet"):
        await store.read(lambda c: views.one_job(c, 1))


async def test_jobs_by_site_counts_each_job_once(full: Store) -> None:
    rows = {row.target: row for row in await full.read(views.jobs_by_site)}
    assert rows[""].states == {"killed": 1, "new": 2, "paused": 1, "queued": 5}
    assert rows["alpha-batch"].site == "alpha"
    assert sum(sum(row.states.values()) for row in rows.values()) == 22


async def test_jobs_are_filtered(full: Store) -> None:
    newest = await full.read(lambda c: views.jobs(c, limit=2))
    assert [row.id for row in newest] == [22, 21]
    failed = await full.read(lambda c: views.jobs(c, workflow_name="zmumu", states=[JobState.FAILED], site="alpha"))
    assert [(row.id, row.attempts) for row in failed] == [(14, 1)]
    with pytest.raises(Unknown, match="did you mean 'zmumu'"):
        await full.read(lambda c: views.jobs(c, workflow_name="zmum"))


async def test_one_job_shows_attempts_files_and_history(full: Store) -> None:
    job = await full.read(lambda c: views.one_job(c, 14))
    assert [(tried.outcome, tried.exit_code, tried.blame) for tried in job.attempts_made] == [("failed", 60311, "site")]
    assert [fact.type for fact in job.history][-1] == "JobsFailed"
    assert job.history[2].more == {"site": "alpha", "target": "alpha-batch"}
    merge = await full.read(lambda c: views.one_job(c, filled.MERGE_JOB))
    assert [row.id for row in merge.inputs] == [1, 2, 3]
    assert [row.lfn for row in merge.files] == ["/store/mc/merged.txt"]
    with pytest.raises(Unknown, match="the newest is 22"):
        await full.read(lambda c: views.one_job(c, 10**30))


async def test_one_file_knows_where_it_is_and_what_became_of_it(full: Store) -> None:
    small = await full.read(lambda c: views.one_file(c, 1))
    assert (small.merge_job, small.merged_into) == (filled.MERGE_JOB, "/store/mc/merged.txt")
    merged = await full.read(lambda c: views.one_file(c, "/store/mc/merged.txt"))
    assert merged.parents == [f"/store/unmerged/mc/{job}.txt" for job in filled.MERGED_JOBS]
    assert [copy.site for copy in merged.replicas] == ["alpha"]
    assert [(task.destination, task.state) for task in merged.transfers] == [("gamma", "wanted")]
    assert merged.block == "/zmumu/v1/GEN#alpha-000001"
    with pytest.raises(Unknown, match="/store/none"):
        await full.read(lambda c: views.one_file(c, "/store/none"))


async def test_files_are_filtered(full: Store) -> None:
    small = await full.read(lambda c: views.files(c, kind=FileKind.UNMERGED, states=[FileState.UNMERGED], site="alpha"))
    assert [row.job for row in small] == [filled.UNMERGED]


async def test_causes_are_counted_with_an_example(full: Store) -> None:
    (cause,) = await full.read(lambda c: views.causes(c, "zmumu"))
    assert (cause.exit_code, cause.meaning, cause.blame, cause.count) == (60311, "stage-out failed", "site", 3)
    assert cause.job == 14
    assert await full.read(lambda c: views.causes(c, "held")) == []
    assert len(await full.read(lambda c: views.failures(c, 2))) == 2


async def test_the_rest(full: Store) -> None:
    (dataset,) = await full.read(views.datasets)
    assert (dataset.name, dataset.files, dataset.events, dataset.open_blocks) == ("/zmumu/v1/GEN", 1, 3000, 1)
    (alert,) = await full.read(views.open_alerts)
    assert alert.code == "jobs-exhausted"
    (letter,) = await full.read(lambda c: views.dead_letters(c, dead_only=True))
    assert (letter.subscriber, letter.next_at) == ("error", None)
    detail = await full.read(lambda c: views.one_workflow(c, "held", 2e9))
    assert [fact.type for fact in detail.history] == ["WorkflowsAdded", "WorkflowsPaused"]
    assert detail.spec["name"] == "zmumu"
    (task,) = await full.read(views.transfers)
    assert task.lfn == "/store/mc/merged.txt"
