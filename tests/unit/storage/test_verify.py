"""The proof from books and storages: what is missing, damaged, unknown or left over is named."""

import hashlib
import json
import zlib

import msgspec
import pytest
import sqlalchemy as sa
from rich.console import Console

from backends.storage_element.base import Checksums, StorageError
from domain.job import JobState
from services.verify import Verification, sentence, shown, verify
from storage import jobs, schema
from storage.engines.opening import open_reader
from storage.errors import StoreAway
from storage.laws import LAWS


class Shelf:
    """A storage element that is a dictionary of contents."""

    def __init__(self):
        self.files = {}
        self.silent = False

    async def size(self, lfn):
        if self.silent:
            raise StorageError("no answer", kind="transient")
        return len(self.files[lfn]) if lfn in self.files else None

    async def checksums(self, lfn):
        content = self.files[lfn]
        return Checksums(f"{zlib.adler32(content):08x}", hashlib.sha256(content).hexdigest())

    async def list(self, prefix):
        if self.silent:
            raise StorageError("no answer", kind="transient")
        return sorted((lfn, len(content)) for lfn, content in self.files.items() if lfn.startswith(prefix))


@pytest.fixture
async def produced(campaign):
    """A campaign that is over, with the storages as its jobs would have left them."""
    shelves = {"A": Shelf(), "C": Shelf()}
    plain = campaign.output

    def output(job, events=None, lfn=None):
        made = plain(job, events, lfn)
        name = made.lfn if job.type == "merge" else made.lfn.replace("/store/", "/store/unmerged/")
        content = name.encode().ljust(made.size)
        sums = {"adler32": f"{zlib.adler32(content):08x}", "sha256": hashlib.sha256(content).hexdigest()}
        shelves["A"].files[name] = content
        return msgspec.structs.replace(made, lfn=name, pfn=name, **sums)

    campaign.output = output
    await campaign.whole()
    for lfn in [name for name in shelves["A"].files if "/unmerged/" in name]:
        del shelves["A"].files[lfn]
    shelves["C"].files.update(shelves["A"].files)
    return campaign, shelves


def printed(found: Verification) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(shown(found))
        return console.export_text()


@pytest.mark.feature("REL-10")
async def test_a_campaign_that_is_over(produced):
    campaign, shelves = produced
    said: list[str] = []
    found = await verify(campaign.store, shelves, deep=True, running=False, progress=said.append)
    assert found.breaches == []
    assert found.holds
    assert (found.copies, found.bytes, found.sites, found.unseen) == (8, 2400, ["A", "C"], [])
    assert [line.name for line in found.laws] == [*(law.name for law in LAWS), "stored", "known"]
    text = printed(found)
    assert "w: 1,000 of 1,000 events are there exactly once" in text
    assert "every law holds" in text
    assert "law fold" in said
    assert "published files at C" in said
    assert msgspec.json.decode(msgspec.json.encode(found), type=Verification) == found
    assert json.loads(msgspec.json.encode(found))["ledger"][0]["merged"] == 1000


async def test_books_alone(campaign):
    await campaign.request()
    await campaign.cut(limit=3)
    found = await verify(campaign.store, running=False)
    assert found.holds
    assert found.copies == 0
    assert sentence(found.ledger[0]) == "w: 0 of 1,000 events are there exactly once, 1,000 in progress"


async def test_an_empty_store(store):
    found = await verify(store, {})
    assert found.holds
    assert "no workflow yet" in printed(found)


async def test_beside_a_writer(campaign, url):
    """Another process may look while the agent works."""
    await campaign.process()
    reader = open_reader(url)
    found = await verify(reader, running=False)
    assert found.holds
    await campaign.merge_all()
    again = await verify(reader, running=False)
    assert again.holds
    assert again.at > found.at
    await reader.close()


class Failing:
    """A reader that is away from its third question on; counts those that have not come back."""

    def __init__(self, store):
        self.store = store
        self.asked = self.open = 0

    async def read(self, query):
        self.asked += 1
        if self.asked == 3:
            raise StoreAway("the database went away")
        self.open += 1
        try:
            return await self.store.read(query)
        finally:
            self.open -= 1


async def test_a_proof_that_cannot_be_read_ends_whole(campaign):
    """Laws are asked two at a time: when one cannot be, the other is not left behind."""
    reader = Failing(campaign.store)
    with pytest.raises(StoreAway, match="the database went away"):
        await verify(reader, running=False)
    assert reader.open == 0
    assert reader.asked < len(LAWS)


@pytest.mark.feature("REL-10")
@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda files, lfn: files.pop(lfn), "it is not there"),
        (lambda files, lfn: files.update({lfn: b"short"}), "it has 5 bytes, the catalogue says 300"),
        (lambda files, lfn: files.update({lfn: b"x" * 300}), "the catalogue says otherwise"),
    ],
)
async def test_what_is_wrong_in_a_storage_is_named(produced, damage, text):
    campaign, shelves = produced
    lfn = min(shelves["C"].files)
    damage(shelves["C"].files, lfn)
    found = await verify(campaign.store, shelves, deep=True, running=False)
    assert not found.holds
    assert [breach.law for breach in found.breaches] == ["stored"]
    assert f"{lfn} at C: " in found.breaches[0].text
    assert text in found.breaches[0].text
    assert "1 breaches" in printed(found)


async def test_content_is_read_only_when_asked(produced):
    campaign, shelves = produced
    shelves["C"].files[min(shelves["C"].files)] = b"x" * 300
    assert (await verify(campaign.store, shelves, running=False)).holds


async def test_a_silent_storage_proves_nothing(produced):
    campaign, shelves = produced
    shelves["C"].silent = True
    found = await verify(campaign.store, shelves, running=False)
    assert {breach.law for breach in found.breaches} == {"stored", "known"}
    assert "cannot be looked at: no answer" in found.breaches[0].text


async def test_a_storage_that_is_not_given_is_said(produced):
    campaign, shelves = produced
    found = await verify(campaign.store, {"A": shelves["A"]}, running=False)
    assert found.holds
    assert found.unseen == ["C"]


@pytest.mark.feature("REL-10")
async def test_a_published_file_that_nobody_knows(produced):
    campaign, shelves = produced
    shelves["C"].files["/store/mc/alien.root"] = b"?"
    shelves["C"].files["/store/unmerged/mc/alien.root"] = b"?"
    shelves["C"].files["/elsewhere/alien.root"] = b"?"
    found = await verify(campaign.store, shelves, running=False)
    assert [(breach.law, breach.subject) for breach in found.breaches] == [("known", "site C")]
    assert "/store/mc/alien.root (1 bytes) is published and not in the catalogue" in found.breaches[0].text


@pytest.mark.feature("REL-10")
async def test_files_of_attempts(campaign):
    """In the making is no fault, left over is said, booked and unknown is a breach."""
    await campaign.process()
    (first, second, third, *_) = await campaign.merge()
    await campaign.release()
    merging = await campaign.ids(JobState.RELEASED)
    await campaign.submit(merging)
    await campaign.write(lambda tx: jobs.kill(tx, [second], "on command"))
    query = sa.select(schema.attempt.c.job_id, schema.attempt.c.token)
    tokens = dict(await campaign.read(lambda c: [tuple(row) for row in c.execute(query)]))
    shelf = Shelf()
    for job in (first, second, third):
        shelf.files[f"/store/mc/{job:010d}-{tokens[job][:12]}.txt"] = b"12345"
    await campaign.run([third])
    await campaign.account([third])
    found = await verify(campaign.store, {"B": shelf}, running=False)
    assert [(stray.outcome, stray.size) for stray in found.strays] == [("killed", 5)]
    assert len([breach for breach in found.breaches if breach.law == "known"]) == 1
    assert f"{third:010d}" in found.breaches[-1].text
    assert "left by attempts that do not count" in printed(found)


async def test_a_copy_on_its_way_is_no_stranger(produced):
    """Published at the destination, not booked yet: the catalogue knows the file from its source."""
    campaign, shelves = produced
    shelves["D"] = Shelf()
    lfn = min(shelves["A"].files)
    shelves["D"].files[lfn] = shelves["A"].files[lfn]
    assert (await verify(campaign.store, shelves, running=False)).holds


async def test_breaches_of_the_books_are_shown(campaign):
    await campaign.request()
    await campaign.cut()
    await campaign.store.write(lambda tx: tx.connection.execute(schema.job.update().values(state="running")))
    found = await verify(campaign.store, running=False)
    assert not found.holds
    text = printed(found)
    assert "job 1 breaks one-live: is running with 0 live attempts, expected 1" in text
    assert "22 breaches" in text  # ten jobs break one-live and fold, two places the counters
