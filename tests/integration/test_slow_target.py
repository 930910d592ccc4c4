"""A target whose answers take long is asked less often."""

from pathlib import Path

import pytest

from actors import tracker
from actors.messages import Wake
from backends.batch.base import Poll
from backends.batch.local import LocalBatch
from domain import events as e
from tests.integration.agent import running, workflow


@pytest.mark.feature("PA-305", "PA-311")
async def test_a_slow_answer_is_followed_by_a_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polls: list[str] = []

    poll = LocalBatch.poll

    async def counted(batch: LocalBatch, cursor: str) -> Poll:
        polls.append(cursor)
        return await poll(batch, cursor)

    monkeypatch.setattr(LocalBatch, "poll", counted)
    monkeypatch.setattr(tracker, "SLOW_S", 0.0)  # every answer is slow
    monkeypatch.setattr(tracker, "REST", 1e9)
    async with running(tmp_path) as agent:
        ref = agent.system.ref("tracker.alpha-local")
        while not polls:
            await ref.ask(Wake())
        for _ in range(10):
            await ref.ask(Wake())
        assert len(polls) == 1
    polls.clear()
    monkeypatch.setattr(tracker, "REST", 0.0)
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=10))
        await agent.fact(e.JobsEnded).reached()
        assert len(polls) > 1
