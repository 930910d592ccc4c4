"""What only a connection can do wrong, against a real OpenSSH server."""

import asyncio
import os
import secrets
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from backends.channel.base import Cut, HostKeyChanged, NotAdmitted, OverBudget, Unreachable
from backends.channel.hosts import Hosts
from backends.channel.ssh import SshChannel
from config.site_settings import Host
from tests.real.sshd import Sshd


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd") as running:
        yield running


def said(*argv: str, check: bool = True) -> str:
    return subprocess.run(argv, check=check, capture_output=True, text=True).stdout


@asynccontextmanager
async def reached(**hosts: Host) -> AsyncIterator[Callable[[str], SshChannel]]:
    """Yield what gives the channel of a host, and close everything in the end."""
    made = Hosts(hosts)
    try:
        yield made.ssh
    finally:
        await made.close()


@pytest.mark.feature("PA-305")
async def test_a_thousand_commands_take_one_connection(server: Sshd) -> None:
    async with reached(alps=server.host()) as ssh:
        answers = await asyncio.gather(*(ssh("alps").run(["echo", str(n)]) for n in range(1000)))
        state = ssh("alps").state()
    assert [int(answer.out) for answer in answers] == list(range(1000))
    assert server.accepted() == 1
    assert (state.connections, state.calls, state.calls_last_hour, state.failures) == (1, 1000, 1000, 0)


@pytest.mark.feature("PA-305", "PA-306")
async def test_a_killed_server_leaves_doubt_and_is_found_again(server: Sshd, tmp_path: Path) -> None:
    async with reached(alps=server.host(retry_base_s=0.1)) as ssh:
        begun = tmp_path / "begun"
        running = asyncio.create_task(ssh("alps").run(["sh", "-c", 'touch "$0"; sleep 300', str(begun)]))
        while not begun.exists():
            await asyncio.sleep(0.01)
        server.kill()
        with pytest.raises(Cut) as cut:
            await running
        assert cut.value.may_have_run
        with pytest.raises(Unreachable, match="cannot be reached") as away:
            await ssh("alps").run(["true"])
        assert away.value.transient
        assert not away.value.may_have_run
        assert ssh("alps").state().state == "waiting"
        assert ssh("alps").state().next_try_at is not None
        server.start()
        assert (await ssh("alps").run(["echo", "back"])).out == b"back\n"
        assert ssh("alps").state().connections == 2


@pytest.mark.feature("PA-305")
async def test_what_was_acknowledged_is_never_doubted_and_what_is_doubted_may_be_there(
    server: Sshd, tmp_path: Path
) -> None:
    """Kill the server at random moments: an answer means that the command ran, certainty that it did not is kept."""
    async with reached(alps=server.host(retry_base_s=0.02, retry_cap_s=0.05)) as ssh:
        outcome: dict[int, str] = {}

        async def mark(number: int) -> None:
            try:
                await ssh("alps").run(["touch", str(tmp_path / f"n{number}")])
                outcome[number] = "ran"
            except (Cut, Unreachable) as error:
                outcome[number] = "doubt" if error.may_have_run else "not"

        for turn in range(6):
            work = [asyncio.create_task(mark(40 * turn + n)) for n in range(40)]
            while sum(task.done() for task in work) < 1 + 6 * turn:
                await asyncio.sleep(0.001)
            server.kill()
            server.start()
            await asyncio.gather(*work)
        assert set(outcome.values()) >= {"ran", "doubt"}
        for number, what in outcome.items():
            there = (tmp_path / f"n{number}").exists()
            assert there if what == "ran" else (what == "doubt" or not there), (number, what)


@pytest.mark.feature("PA-305")
async def test_a_frozen_server_is_noticed_by_the_signs_of_life(server: Sshd) -> None:
    async with reached(alps=server.host(keepalive_s=0.2, keepalive_tries=2, retry_base_s=0.1)) as ssh:
        await ssh("alps").run(["true"])
        server.freeze()
        began = time.monotonic()
        with pytest.raises(Cut, match="lost"):
            await ssh("alps").run(["true"], deadline_s=30.0)
        assert time.monotonic() - began < 10
        assert (await ssh("alps").run(["echo", "new"])).out == b"new\n"
        server.thaw()


@pytest.mark.feature("PA-306")
async def test_a_host_that_hangs_slows_no_other(server: Sshd, tmp_path: Path) -> None:
    with Sshd(tmp_path / "other") as other:
        async with reached(hangs=server.host(), works=other.host()) as ssh:
            await ssh("hangs").run(["true"])
            server.freeze()
            stuck = [asyncio.create_task(ssh("hangs").run(["true"], deadline_s=60.0)) for _ in range(30)]
            await ssh("works").run(["true"])
            began = time.monotonic()
            for _ in range(20):
                await ssh("works").run(["true"])
            assert time.monotonic() - began < 10
            assert not any(task.done() for task in stuck)
            server.thaw()
            assert {answer.code for answer in await asyncio.gather(*stuck)} == {0}


@pytest.mark.feature("PA-305")
async def test_a_changed_host_key_blocks_until_a_person_has_looked(server: Sshd) -> None:
    async with reached(alps=server.host(retry_base_s=0.01)) as ssh:
        await ssh("alps").run(["true"])
        server.kill()
        server.new_host_key()
        server.start()
        with suppress(Cut):
            await ssh("alps").run(["true"])
        tries = server.log.read_text().count("Connection")
        for _ in range(5):
            with pytest.raises(HostKeyChanged, match=str(server.known_hosts)) as caught:
                await ssh("alps").run(["true"])
            assert not caught.value.transient
            assert not caught.value.may_have_run
        assert server.log.read_text().count("Connection") <= tries + 2, "it was asked again and again"
        assert ssh("alps").state().state == "blocked"
        server.trust()
        assert (await ssh("alps").run(["echo", "known"])).out == b"known\n"


@pytest.mark.feature("PA-305")
async def test_an_unknown_host_is_refused_with_what_to_do(server: Sshd) -> None:
    server.known_hosts.write_text("")
    async with reached(alps=server.host()) as ssh:
        with pytest.raises(NotAdmitted, match="ssh-keyscan") as caught:
            await ssh("alps").run(["true"])
        fingerprint = said("ssh-keygen", "-lf", f"{server.directory}/host_key.pub").split()[1]
        assert fingerprint in str(caught.value)
        assert not isinstance(caught.value, HostKeyChanged)
        assert ssh("alps").state().state == "refused"
        server.trust()
        assert (await ssh("alps").run(["true"])).code == 0


@pytest.mark.feature("PA-305")
async def test_checking_cannot_be_switched_off_by_an_ssh_configuration(server: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    async with reached(alps=server.host(known_hosts=None, ssh_config=str(config))) as ssh:
        with pytest.raises(NotAdmitted):
            await ssh("alps").run(["true"])
    assert server.accepted() == 0


async def test_a_wrong_key_is_refused_and_not_tried_again_and_again(server: Sshd) -> None:
    (server.directory / "authorized_keys").write_text("")
    async with reached(alps=server.host()) as ssh:
        for _ in range(3):
            with pytest.raises(NotAdmitted, match="does not admit"):
                await ssh("alps").run(["true"])
        assert ssh("alps").state().failures == 1
        os.utime(server.identity)
        (server.directory / "authorized_keys").write_bytes(Path(f"{server.identity}.pub").read_bytes())
        assert (await ssh("alps").run(["true"])).code == 0


async def test_a_key_file_that_is_missing_is_named(server: Sshd) -> None:
    async with reached(alps=server.host(identity_files=["/nowhere/key"])) as ssh:
        with pytest.raises(NotAdmitted, match="/nowhere/key"):
            await ssh("alps").run(["true"])


@pytest.mark.feature("PA-305")
async def test_an_openssh_configuration_is_heeded(server: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host alps\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentityFile {server.identity}\n"
        f"  UserKnownHostsFile {server.known_hosts}\n  User {server.host().user}\n"
    )
    async with reached(alps=Host(ssh_config=str(config))) as ssh:
        assert (await ssh("alps").run(["echo", "$x"])).out == b"$x\n"


@pytest.mark.feature("PA-305")
async def test_the_users_own_configuration_is_heeded_with_its_jump_hosts(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is in the agent's table: `ssh alps` finds all in ~/.ssh/config, and so do we."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    with Sshd(tmp_path / "middle") as middle, Sshd(tmp_path / "inner") as inner:
        both = " ".join(str(one.known_hosts) for one in (server, middle, inner))
        ways = {"gate": server, "middle": middle, "alps": inner}
        blocks = [f"Host {name}\n  HostName 127.0.0.1\n  Port {one.port}" for name, one in ways.items()]
        blocks[2] += "\n  ProxyJump gate,middle"
        keys = "".join(f"  IdentityFile {one.identity}\n" for one in ways.values())
        blocks.append(f"Host *\n  User {server.host().user}\n{keys}  UserKnownHostsFile {both}\n  ProxyJump gate\n")
        (tmp_path / ".ssh/config").write_text("\n".join(blocks))
        async with reached(alps=Host()) as ssh:
            for _ in range(3):
                assert (await ssh("alps").run(["echo", "there"])).out == b"there\n"
        assert (server.accepted(), middle.accepted(), inner.accepted()) == (1, 1, 1)
        middle.known_hosts.write_text("")
        async with reached(alps=Host()) as ssh:
            with pytest.raises(NotAdmitted, match="host middle is not known"):
                await ssh("alps").run(["true"])
        assert inner.accepted() == 1


@pytest.mark.feature("PA-305")
@pytest.mark.parametrize("way", ["gate:x", "gate"])
async def test_a_jump_that_leads_nowhere_is_refused_with_its_name(way: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host gate\n  ProxyJump alps\nHost alps\n  ProxyJump {way}\n")
    async with reached(alps=Host(ssh_config=str(config))) as ssh:
        with pytest.raises(
            NotAdmitted, match=r"ProxyJump 'gate:x'|ProxyJump '(alps|gate)' .*not reached through itself"
        ):
            await ssh("alps").run(["true"])


@pytest.mark.feature("PA-305")
async def test_checking_of_a_jump_host_cannot_be_switched_off_either(server: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host gate\n  HostName 127.0.0.1\n  Port {server.port}\n  UserKnownHostsFile none\n"
        f"  IdentityFile {server.identity}\nHost alps\n  ProxyJump gate\n"
    )
    async with reached(alps=Host(ssh_config=str(config))) as ssh:
        with pytest.raises(NotAdmitted, match="host gate is not known"):
            await ssh("alps").run(["true"])
    assert server.accepted() == 0


@pytest.mark.feature("PA-305")
async def test_keys_may_come_from_an_agent(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "agent"
    agent = await asyncio.create_subprocess_exec("ssh-agent", "-D", "-a", str(socket), stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            await asyncio.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        said("ssh-add", "-q", str(server.identity))
        server.identity.unlink()
        async with reached(alps=server.host(identity_files=[])) as ssh:
            assert (await ssh("alps").run(["true"])).code == 0
    finally:
        agent.kill()
        await agent.wait()


@pytest.mark.feature("PA-305")
async def test_a_certificate_beside_the_key_is_shown(server: Sshd, tmp_path: Path) -> None:
    authority = tmp_path / "authority"
    said("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(authority))
    signed = ["-s", str(authority), "-I", "test", "-n", str(server.host().user), f"{server.identity}.pub"]
    said("ssh-keygen", "-q", *signed)
    public = Path(f"{authority}.pub").read_text()
    (server.directory / "authorized_keys").write_text(f"cert-authority {public}")
    async with reached(alps=server.host()) as ssh:
        assert (await ssh("alps").run(["true"])).code == 0
    assert "ED25519-CERT" in server.log.read_text()


@pytest.mark.feature("PA-305")
async def test_a_jump_host_carries_the_connection_and_is_shared(server: Sshd, tmp_path: Path) -> None:
    with Sshd(tmp_path / "inner") as inner, Sshd(tmp_path / "second") as second:
        hosts = {"gate": server.host(), "inner": inner.host(jump="gate"), "second": second.host(jump="gate")}
        async with reached(**hosts) as ssh:
            answers = await asyncio.gather(ssh("inner").run(["echo", "i"]), ssh("second").run(["echo", "s"]))
            assert [answer.out for answer in answers] == [b"i\n", b"s\n"]
            await ssh("gate").run(["true"])
        assert (server.accepted(), inner.accepted(), second.accepted()) == (1, 1, 1)


@pytest.mark.feature("PA-305")
async def test_calls_per_hour_are_bounded(server: Sshd) -> None:
    async with reached(alps=server.host(calls_per_hour=3)) as ssh:
        for _ in range(3):
            await ssh("alps").run(["true"])
        with pytest.raises(OverBudget, match="3 calls of this hour") as caught:
            await ssh("alps").run(["true"])
        assert caught.value.transient
        assert not caught.value.may_have_run
        assert 3500 < caught.value.retry_after_s <= 3600
        assert ssh("alps").state().calls_last_hour == 3


@pytest.mark.feature("PA-305")
@pytest.mark.parametrize("sessions", [1, 10])
async def test_a_server_with_few_sessions_is_asked_again(tmp_path: Path, sessions: int) -> None:
    with Sshd(tmp_path / "sshd", options=f"MaxSessions {sessions}") as server:
        async with reached(alps=server.host(commands_at_once=sessions)) as ssh:
            answers = await asyncio.gather(*(ssh("alps").run(["true"]) for _ in range(60)))
    assert {answer.code for answer in answers} == {0}


async def test_an_account_without_a_shell_is_no_answer(tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd", options="ForceCommand echo not today; exit 1") as server:
        async with reached(alps=server.host()) as ssh:
            with pytest.raises(Unreachable, match="not today") as caught:
                await ssh("alps").run(["true"])
    assert not caught.value.may_have_run


async def test_a_talkative_shell_does_not_spoil_answers(tmp_path: Path) -> None:
    talk = 'ForceCommand echo "Welcome!"; echo "be good" >&2; eval "$SSH_ORIGINAL_COMMAND"'
    with Sshd(tmp_path / "sshd", options=talk) as server:
        async with reached(alps=server.host()) as ssh:
            answer = await ssh("alps").run(["sh", "-c", "echo out; echo err >&2"])
    assert (answer.out, answer.err) == (b"out\n", b"err\n")


@pytest.mark.feature("PA-305")
async def test_a_lost_command_ends_by_itself(server: Sshd) -> None:
    """The connection is gone and nobody can kill it: the bound that went along with the command does."""
    word = f"{secrets.randbelow(10**6)}.{secrets.randbelow(10**6)}"
    async with reached(alps=server.host()) as ssh:
        running = asyncio.create_task(ssh("alps").run(["sleep", f"9{word}"], deadline_s=20.0))
        found = ""
        while not found:
            await asyncio.sleep(0.02)
            found = said("pgrep", "-f", f"timeout.*9{word}", check=False)
        server.kill()
        with pytest.raises(Cut):
            await running
        pid = found.split()[0]
        assert b"timeout\0-k\0005\00025\0sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
        os.kill(int(pid), signal.SIGTERM)
