"""A whole agent whose files lie elsewhere: made behind SSH, delivered by WebDAV, every byte through real servers."""

import asyncio
from pathlib import Path

import pytest

from domain import events as e
from storage import laws
from tests.integration import agent as whole
from tests.integration.agent import running, workflow
from tests.real.sshd import USER, Sshd
from tests.real.webdav import Webdav

HERE = '[sites.alpha.storage]\nkind = "posix"\nroot = "alpha/storage"\n'
THERE = '[sites.gamma.storage]\nkind = "posix"\nroot = "gamma/storage"\n'
HOST = """
[hosts.alps]
address = "127.0.0.1"
port = {port}
user = "{user}"
identity_files = ["{identity}"]
known_hosts = "{known_hosts}"
ssh_config = "/dev/null"
"""


@pytest.mark.feature("TX-07", "TX-09", "PA-305")
async def test_files_are_delivered_from_one_remote_storage_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sshd(tmp_path / "sshd") as sshd, Webdav() as webdav:
        alpha = f'[sites.alpha.storage]\nkind = "sftp"\nhost = "alps"\nroot = "{tmp_path}/alpha/storage"\n'
        gamma = f'[sites.gamma.storage]\nkind = "http"\nurl = "{webdav.url}"\n'
        monkeypatch.setattr(whole, "CONFIG", whole.CONFIG.replace(HERE, alpha).replace(THERE, gamma))
        host = HOST.format(port=sshd.port, user=USER, identity=sshd.identity, known_hosts=sshd.known_hosts)
        async with running(tmp_path, more=host) as agent:
            await agent.submit(workflow(events=45))
            await agent.fact(e.WorkflowsCompleted).reached()
            await agent.fact(e.JobsCleaned).reached()
            broken = await agent.world.store.read(
                lambda c: laws.check(c, now=agent.world.clock.time(), limits=laws.Limits())
            )
            assert broken == []
            assert [state.connections for state in agent.world.hosts.states()] == [1]
        await asyncio.sleep(0)
        files = sorted((webdav.data / "area").rglob("*.txt"))
        assert sorted(int(line) for path in files for line in path.read_text().split()) == list(range(1, 46))
        assert list((tmp_path / "state/scratch").iterdir()) == []
