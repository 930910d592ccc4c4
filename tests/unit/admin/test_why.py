"""`why` over a store in which everything is somewhere."""

from collections.abc import AsyncIterator

import pytest

from storage import alerts, attempts, jobs
from storage.store import Store
from storage.subjects import parse
from storage.views import Unknown
from storage.why import Explanation, why
from tests.unit.admin import filled


@pytest.fixture
async def full(tmp_path) -> AsyncIterator[Store]:
    opened = await filled.opened(tmp_path)
    yield opened
    await opened.close()


async def ask(store: Store, subject: str) -> Explanation:
    return await store.read(lambda c: why(c, subject, filled.settings(), 2e9))


JOBS = {
    1: ("cleanup-wait", "cleanup"),
    4: ("merge-wait", "merge"),
    5: ("exhausted", "operator"),
    6: ("back-off", "queue"),
    7: ("running", "tracker"),
    8: ("batch-queue", "tracker"),
    9: ("submission-open", "submitter"),
    10: ("to-submit", "submitter"),
    11: ("no-site", "operator"),
    12: ("killed", "nobody"),
    13: ("no-slot", "queue"),
    14: ("dead-letter", "operator"),
    15: ("report-unread", "report"),
    20: ("not-admitted", "queue"),
    21: ("cleanup-wait", "cleanup"),
    22: ("held", "operator"),
}
SUBJECTS = {
    "zmumu": "no-site",
    "workflow:held": "held",
    "request:req-7": "held",
    "/store/mc/merged.txt": "transfer-next",
    "file:1": "transfer-next",
    "file:/store/unmerged/mc/4.txt": "merge-wait",
    "transfer:1": "transfer-next",
    "site:alpha": "open",
    "site:beta": "site-off",
    "site:gamma": "no-target",
}
ABSENT = {
    "999": "the newest is 22",
    "job:x": "expected its number",
    "zmum": "did you mean 'zmumu'",
    "site:alfa": "did you mean 'alpha'",
    "request:req": "did you mean 'req-7'",
    "file:/none": "no file /none",
    "transfer:7": "no transfer 7",
    "jobs:7": "expected a job id",
    "job:": "expected a job id",
    "job:99999999999999999999": "expected its number",
    "": "no workflow ''",
}


@pytest.mark.feature("OPS-09", "PA-218")
async def test_every_job_names_its_blocker(full: Store) -> None:
    await full.write(lambda tx: jobs.release(tx, [16], "alpha", "alpha-batch"))  # the last of five places
    found = {job: await ask(full, f"job:{job}") for job in JOBS}
    assert {job: (one.code, one.owner) for job, one in found.items()} == JOBS
    assert all(one.subject == f"job:{job}" for job, one in found.items())


async def test_a_failed_job_tells_the_cause_of_its_attempt(full: Store) -> None:
    assert "no space left" in (await ask(full, "14")).text


async def test_a_silent_target_is_named(full: Store) -> None:
    await full.write(
        lambda tx: alerts.raise_alert(tx, "error", "status-silent", "alpha-batch", "alpha-batch is silent")
    )
    assert (await ask(full, "8")).code == "target-silent"
    assert (await ask(full, "site:alpha")).code == "target-silent"


@pytest.mark.feature("OPS-09")
async def test_workflows_files_transfers_and_sites_name_theirs(full: Store) -> None:
    assert {subject: (await ask(full, subject)).code for subject in SUBJECTS} == SUBJECTS


async def test_a_workflow_counts_what_each_blocker_holds(full: Store) -> None:
    found = await ask(full, "zmumu")
    assert found.groups["next-sweep"] == 5
    assert found.groups["exhausted"] == 1
    assert found.groups["merge-wait"] == 1


async def test_what_is_not_there_is_said(full: Store) -> None:
    for subject, text in ABSENT.items():
        with pytest.raises(Unknown, match=text):
            await ask(full, subject)


def test_subjects_are_read_as_people_write_them() -> None:
    assert parse(" 17 ") == ("job", "17")
    assert parse("workflow:x") == ("workflow", "x")
    assert parse("/store/a:b") == ("file", "/store/a:b")


@pytest.mark.feature("OPS-09", "PA-218")
async def test_a_workflow_tells_what_its_waiting_jobs_wait_for_in_the_words_of_the_batch_system(full: Store) -> None:
    await full.write(lambda tx: jobs.release(tx, [16, 17, 18], "alpha", "alpha-batch"))
    names = {16: "a", 17: "b", 18: "c"}
    await full.write(lambda tx: attempts.intend(tx, list(names), "alpha", "alpha-batch", names))
    await full.write(lambda tx: attempts.submitted(tx, {job: f"70{job}" for job in names}))
    await full.write(lambda tx: attempts.waits(tx, {16: "PartitionDown", 17: "PartitionDown", 18: "JobHeldUser"}))
    one = await ask(full, "job:16")
    assert (one.code, one.owner, one.text) == (
        "batch-down",
        "tracker",
        "alpha-batch has it as 7016, not started yet: PartitionDown",
    )
    groups = (await ask(full, "zmumu")).groups
    assert (groups["batch-down"], groups["batch-held"], groups["batch-queue"]) == (2, 1, 1)
