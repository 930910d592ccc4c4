"""Every way in which a site can be bad at once: each is parked with its name, nothing is lost, the rest goes on."""

from pathlib import Path

import pytest

from actors.messages import Wake
from domain import events as e
from storage import alerts
from storage import why as reasons
from tests.integration.agent import Agent, running, workflow
from tests.real.daemon import free_port
from tests.real.sshd import USER, Sshd

HOST = """
[hosts.{name}]
address = "127.0.0.1"
port = {port}
user = "{user}"
identity_files = ["{sshd.identity}"]
known_hosts = "{sshd.known_hosts}"
ssh_config = "/dev/null"
connect_s = 2.0
retry_base_s = 0.05
retry_cap_s = 0.1
"""
TARGET = """
[sites.bad.targets.{name}]
kind = "slurm"
directory = "{directory}/{name}"
command_environment = {{ PATH = "{directory}/{name}-bin:/usr/bin:/bin" }}
limits = {{ processing = {jobs}, merge = 0 }}
poll_s = 0.1
"""
COMMANDS = {
    "scontrol": 'case "$*" in *config) echo "MaxArraySize = 1001";; *) echo "PartitionName=a Default=YES MaxTime=UNLIMITED";; esac',
    "sinfo": 'echo "4|8000"',
    "squeue": "true",
    "sbatch": "echo 7",
}
REFUSED = 'echo "slurm_load_partitions: Invalid partition name specified" >&2; exit 1'


def commands(directory: Path, name: str, **changed: str) -> None:
    """Make a site's batch commands."""
    place = directory / f"{name}-bin"
    place.mkdir()
    for command, script in {**COMMANDS, **changed}.items():
        (place / command).write_text("#!/bin/sh\n" + script + "\n")
        (place / command).chmod(0o755)


async def told(agent: Agent, *wanted: tuple[str, str]) -> dict[tuple[str, str], str]:
    """Return the texts of alerts by code and target, once all that are wanted are open."""
    while True:
        found = {(one.code, one.subject): one.text for one in await agent.world.store.read(alerts.open_alerts)}
        if found.keys() >= set(wanted):
            return found
        for _, target in wanted:
            await agent.system.ref(f"tracker.{target}").ask(Wake(), timeout=60)


@pytest.mark.feature("PA-305", "PA-306", "REL-04")
async def test_each_bad_site_is_named_and_the_good_one_does_the_work(tmp_path: Path) -> None:
    commands(tmp_path, "refused", scontrol=REFUSED)
    commands(tmp_path, "garbled", squeue='echo "Welcome to the cluster"')
    with Sshd(tmp_path / "sshd") as sshd:
        more = '\n[sites.bad.storage]\nkind = "posix"\nroot = "bad/storage"\n'
        more += "\n[queue]\nlease_s = 0.3\nsweep_s = 0.1\n"
        more += HOST.format(name="nowhere", port=free_port(), user=USER, sshd=sshd)
        more += HOST.format(name="stranger", port=sshd.port, user=USER, sshd=sshd)
        for name, jobs in {"gone": 1, "blocked": 1, "refused": 1, "garbled": 0}.items():
            more += TARGET.format(name=name, directory=tmp_path, jobs=jobs)
            more += {"gone": 'host = "nowhere"\n', "blocked": 'host = "stranger"\n'}.get(name, "")
        sshd.kill()
        sshd.new_host_key()
        sshd.start()  # with another key than the one that is known
        async with running(tmp_path, more=more) as agent:
            await agent.submit(workflow(events=60))
            await agent.fact(e.WorkflowsCompleted).reached()
            text = await told(agent, *(("status-silent", name) for name in ("gone", "blocked", "refused", "garbled")))
            assert "host nowhere cannot be reached" in text["status-silent", "gone"]
            assert "key" in text["status-silent", "blocked"]
            assert "Invalid partition name specified" in text["status-silent", "refused"]
            assert "squeue's answer is unreadable: Welcome to the cluster" in text["status-silent", "garbled"]
            settings, now = agent.world.settings, agent.world.clock.time()
            found = await agent.world.store.read(lambda c: reasons.why(c, "site:bad", settings, now))
            assert (found.state, bool(found.text), bool(found.unblocks)) == ("enabled", True, True)
        files = (tmp_path / "gamma/storage").rglob("*.txt")
        assert sorted(int(line) for path in files for line in path.read_text().split()) == list(range(1, 61))
