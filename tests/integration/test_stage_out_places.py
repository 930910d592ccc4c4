"""Outputs that their own site's storage does not take go to another site's, and are merged and delivered from there."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from actors import staging
from actors.messages import Refused
from domain import events as e
from domain import jobspec
from storage import laws, schema
from storage.merges import Input
from tests.integration import agent as whole
from tests.integration.agent import Agent, beta, running, workflow
from tests.real.webdav import Webdav

BETA = beta(limits={"processing": 0, "merge": 1})
ALPHA = '[sites.alpha.storage]\nkind = "posix"\nroot = "alpha/storage"\n'


async def sites_of_files(agent: Agent, kind: str) -> set[str]:
    query = sa.select(schema.file.c.site).where(schema.file.c.kind == kind)
    return set(await agent.world.store.read(lambda c: list(c.execute(query).scalars())))


async def delivered(agent: Agent, directory: Path) -> None:
    await agent.fact(e.WorkflowsCompleted).reached()
    await agent.fact(e.JobsCleaned).reached()
    broken = await agent.world.store.read(lambda c: laws.check(c, now=agent.world.clock.time(), limits=laws.Limits()))
    assert broken == []
    files = (directory / "gamma/storage").rglob("*.txt")
    assert sorted(int(line) for path in files for line in path.read_text().split()) == list(range(1, 21))


@pytest.mark.feature("PA-322")
async def test_a_full_storage_falls_back_to_another_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobspec, "STAGE_OUT_PAUSES_S", [0, 0])
    falls = ALPHA.replace(
        "[sites.alpha.storage]", '[sites.alpha]\nstage_out_fallback = ["beta"]\n[sites.alpha.storage]'
    )
    monkeypatch.setattr(whole, "CONFIG", whole.CONFIG.replace(ALPHA, falls))
    (tmp_path / "alpha/storage").mkdir(parents=True)
    (tmp_path / "alpha/storage/store").write_text("a file in place of a directory: nothing can be written")
    async with running(tmp_path, more=BETA) as agent:
        await agent.submit(workflow(events=20))
        await delivered(agent, tmp_path)
        assert await sites_of_files(agent, "unmerged") == {"beta"}
        assert await sites_of_files(agent, "merged") == {"beta"}


@pytest.mark.feature("PA-322")
async def test_a_workflow_may_name_other_places(tmp_path: Path) -> None:
    async with running(tmp_path, more=BETA) as agent:
        with pytest.raises(Refused, match="stage_out: no site 'delta'; expected one of alpha, beta, gamma"):
            await agent.submit(workflow(stage_out=["delta"]))
        await agent.submit(workflow(events=20, stage_out=["beta"]))
        await delivered(agent, tmp_path)
        assert await sites_of_files(agent, "unmerged") == {"beta"}
        assert not list((tmp_path / "alpha/storage").rglob("*.txt"))


@pytest.mark.feature("PA-322", "PA-323")
async def test_what_a_node_is_told_of_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = '[sites.alpha]\nstage_out_fallback = ["beta"]\n[sites.alpha.storage]\nkind = "xrootd"\nurl = "root://se:1094//data"\n'
    monkeypatch.setattr(whole, "CONFIG", whole.CONFIG.replace(ALPHA, remote))
    async with running(tmp_path, more=BETA) as agent:
        world, plain = agent.world, workflow()
        own, other = staging.rules(world, "alpha", plain)
        assert (own["kind"], own.get("site"), other["kind"], other["site"]) == ("xrootd", None, "posix", "beta")
        assert [rule["site"] for rule in staging.rules(world, "alpha", workflow(stage_out=["gamma"]))] == ["gamma"]
        assert "site" not in staging.rules(world, "beta", workflow(stage_out=["beta"]))[0]
        member = Input(lfn="/store/a.txt", size=1, events=1, adler32="00000001")
        (far,) = staging.inputs(world, "alpha", [member])
        assert far.path == ""
        assert [(way["kind"], way["pfn"]) for way in far.sources] == [("xrootd", "root://se:1094//data/store/a.txt")]
        (near,) = staging.inputs(world, "beta", [member])
        assert (near.path, near.sources) == (str(tmp_path / "beta/storage/store/a.txt"), ())


@pytest.mark.feature("PA-322", "PA-323")
async def test_a_merge_reads_copies_where_nodes_have_no_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Webdav() as server:
        remote = f'[sites.alpha.storage]\nkind = "http"\nurl = "{server.url}"\n'
        monkeypatch.setattr(whole, "CONFIG", whole.CONFIG.replace(ALPHA, remote))
        async with running(tmp_path) as agent:
            await agent.submit(workflow(events=20))
            await delivered(agent, tmp_path)
            assert await sites_of_files(agent, "merged") == {"alpha"}
