"""What every channel must do: the contract of backends/channel/base.py, run on this machine and through a real sshd."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from backends.channel.base import OUTPUT_CAP, Channel, ChannelError, Cut, FileFault, Flooded, SmallFile
from backends.channel.hosts import Hosts
from tests.real.sshd import Sshd

WORDS = ["a b", "c'd", 'e"f', "$HOME", "`id`", "g!h", "two\nlines", "", "-n", "*", "\\", "ü", "~", ";exit 3", "%d"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(params=["local", "ssh"])
async def channel(request: pytest.FixtureRequest, server: Sshd) -> AsyncIterator[Channel]:
    hosts = Hosts({"ssh": server.host()})
    yield hosts.channel(request.param)
    await hosts.close()


def left(word: str) -> list[str]:
    """Return the processes that have a word in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in command and int(pid) != os.getpid():
            found.append(command.replace(b"\0", b" ").decode())
    return found


async def until_gone(word: str) -> None:
    """Return when no process has this word; the test's own deadline is the limit."""
    while left(word):
        await asyncio.sleep(0.02)


@pytest.mark.feature("PA-305")
async def test_every_word_reaches_the_program_as_it_is(channel: Channel) -> None:
    answer = await channel.run(["printf", "%s\\0", *WORDS])
    assert answer.out.decode().split("\0")[:-1] == WORDS
    assert (answer.code, answer.err) == (0, b"")


@pytest.mark.feature("PA-305")
async def test_environment_reaches_the_program_and_secrets_do_not(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "hidden")
    answer = await channel.run(["sh", "-c", 'printf "%s|%s" "$WORD" "$DB_PASSWORD"'], env={"WORD": "x y'z"})
    assert answer.out == b"x y'z|"


async def test_input_output_and_code_come_back(channel: Channel) -> None:
    answer = await channel.run(["sh", "-c", "cat; echo trouble >&2; exit 7"], stdin=b"\0\xff" * 300_000)
    assert (answer.code, answer.out, answer.err) == (7, b"\0\xff" * 300_000, b"trouble\n")
    assert answer.said() == "trouble"


async def test_a_program_that_does_not_read_its_input_answers(channel: Channel) -> None:
    assert (await channel.run(["true"], stdin=b"x" * 3_000_000)).code == 0


async def test_a_program_that_is_not_there_is_an_answer(channel: Channel) -> None:
    assert (await channel.run(["no-such-program"])).code == 127
    assert (await channel.run(["/etc/passwd"])).code == 126


async def test_a_signal_is_a_negative_code(channel: Channel) -> None:
    assert (await channel.run(["sh", "-c", "kill -TERM $$"])).code == -15


@pytest.mark.feature("PA-305")
async def test_a_command_that_hangs_is_cut_in_time_and_killed(channel: Channel) -> None:
    word = f"9{secrets.randbelow(10**9)}"
    began = time.monotonic()
    with pytest.raises(Cut, match="no end within 1 s") as caught:
        await channel.run(["sh", "-c", "sleep 300 & sleep 300; wait", word], deadline_s=1.0)
    assert time.monotonic() - began < 5
    assert caught.value.transient
    assert caught.value.may_have_run
    await until_gone(word)


@pytest.mark.feature("PA-305")
async def test_a_cancelled_command_is_killed(channel: Channel) -> None:
    word = f"9{secrets.randbelow(10**9)}"
    running = asyncio.create_task(channel.run(["sleep", word]))
    while not left(word):
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until_gone(word)
    assert channel.state().running in (0, 1)


@pytest.mark.feature("PA-305")
@pytest.mark.parametrize("stream", ["1", "2"])
async def test_a_flood_is_cut_off(channel: Channel, stream: str) -> None:
    word = f"flood{secrets.randbelow(10**9)}"
    with pytest.raises(Flooded, match=str(OUTPUT_CAP)) as caught:
        await channel.run(["sh", "-c", f"yes $0 >&{stream}", word])
    assert not caught.value.transient
    assert caught.value.may_have_run
    await until_gone(word)


async def test_output_up_to_the_cap_is_whole(channel: Channel) -> None:
    answer = await channel.run(["head", "-c", str(OUTPUT_CAP - 1000), "/dev/zero"])
    assert len(answer.out) == OUTPUT_CAP - 1000


@pytest.mark.feature("PA-305")
async def test_no_more_run_at_once_than_may(channel: Channel, tmp_path: Path) -> None:
    count = 'cd "$0"; : >$$; ls | wc -l; sleep 0.2; rm $$'
    answers = await asyncio.gather(*(channel.run(["sh", "-c", count, str(tmp_path)]) for _ in range(20)))
    assert max(int(answer.out) for answer in answers) <= 8


async def test_files_go_and_come(channel: Channel, tmp_path: Path) -> None:
    path = f"{tmp_path}/new/dir/file name"
    await channel.put(path, b"\0one", 0o640)
    await channel.put(path, b"\0two", 0o755)
    assert await channel.get(path) == b"\0two"
    assert os.stat(path).st_mode & 0o777 == 0o755
    assert await channel.tail(path, 2) == b"wo"
    assert os.listdir(os.path.dirname(path)) == ["file name"]


async def test_many_files_are_one_call(channel: Channel, tmp_path: Path) -> None:
    files = [SmallFile(f"{tmp_path}/d{n % 7}/f'{n}", os.urandom(n), 0o600) for n in range(500)]
    before = channel.state().calls
    await channel.put_many(files)
    got = await channel.get_many([*(file.path for file in files), f"{tmp_path}/none"])
    assert got == {file.path: file.content for file in files}
    await channel.remove([f"{tmp_path}/d{n}" for n in range(7)] + [f"{tmp_path}/none"])
    assert channel.state().calls == before + 3
    assert os.listdir(tmp_path) == []


async def test_a_directory_is_listed(channel: Channel, tmp_path: Path) -> None:
    (tmp_path / "b c").write_bytes(b"123")
    (tmp_path / "a").mkdir()
    entries = await channel.list(str(tmp_path))
    assert [(entry.name, entry.is_directory) for entry in entries] == [("a", True), ("b c", False)]
    assert entries[1].size == 3
    assert abs(entries[1].changed_at - time.time()) < 60


async def test_what_is_missing_is_said_to_be(channel: Channel, tmp_path: Path) -> None:
    for act in (channel.get, channel.list):
        with pytest.raises(FileFault, match="No such file") as caught:
            await act(f"{tmp_path}/none")
        assert caught.value.kind == "missing"
        assert not caught.value.transient
    assert await channel.get_many([f"{tmp_path}/none"]) == {}


async def test_a_place_that_cannot_be_written_is_said_to_be(channel: Channel) -> None:
    for act in (channel.put("/proc/prodagent/x", b""), channel.put_many([SmallFile("/proc/prodagent/x", b"")])):
        with pytest.raises(FileFault):
            await act


async def test_a_file_that_is_too_large_is_not_cut_short(channel: Channel, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert await channel.get(f"{tmp_path}/f", limit=5) == b"12345"
    with pytest.raises(Flooded):
        await channel.get(f"{tmp_path}/f", limit=4)


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a//b", "/", "/a/\0"])
async def test_a_path_that_is_none_is_refused(channel: Channel, path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        await channel.get(path)
    with pytest.raises(ValueError, match="no path"):
        await channel.put_many([SmallFile(path, b"")])


async def test_a_slip_does_not_empty_a_file_system(channel: Channel) -> None:
    with pytest.raises(ValueError, match="two names"):
        await channel.remove(["/prodagent-none"])


async def test_close_cuts_what_runs_and_the_next_call_opens_again(channel: Channel) -> None:
    word = f"9{secrets.randbelow(10**9)}"
    running = asyncio.create_task(channel.run(["sleep", word]))
    while not left(word):
        await asyncio.sleep(0.01)
    await channel.close()
    with pytest.raises(ChannelError):
        await running
    await channel.close()
    assert (await channel.run(["echo", "back"])).out == b"back\n"
