"""The parts of a channel that need no network: words for a shell, the pace, the turns, who reaches whom."""

import asyncio
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backends.channel import openssh
from backends.channel.command import LONGEST, line, own_words, quoted
from backends.channel.hosts import Hosts
from backends.channel.pace import HOUR_S, LONGEST_REST_S, Pace
from backends.channel.turns import Turns
from config.site_settings import Host

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "ksh", "tcsh", "fish") if shutil.which(shell)]
WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@pytest.mark.feature("PA-305")
@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=30, deadline=None)
@given(words=st.lists(WORD, max_size=6))
def test_a_shell_hands_every_word_on_as_it_is(shell: str, words: list[str]) -> None:
    text = quoted(["printf", "%s\\0", "start", *words])
    said = subprocess.run([shell, "-c", text], check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout
    assert said.decode().split("\0")[:-1] == ["start", *words]


def test_a_command_that_no_program_can_be_given_is_refused() -> None:
    for argv in ([], [""], ["a\0b"]):
        with pytest.raises(ValueError, match="no command"):
            line(argv, "mark", 60, {})
    with pytest.raises(ValueError, match="no environment variable"):
        line(["a"], "mark", 60, {"A B": "c"})
    with pytest.raises(ValueError, match="use standard input"):
        line(["a", "x" * LONGEST], "mark", 60, {})


def test_own_words_begin_after_the_marked_line() -> None:
    assert own_words(b"Welcome!\nmark 17\nout\nmark", "mark") == (b"out\nmark", "17")
    assert own_words(b"mark\n", "mark") == (b"", "")
    assert own_words(b"This account is closed.", "mark") is None


@pytest.mark.feature("PA-305")
def test_slow_answers_halve_what_runs_at_once_and_then_stretch_the_time_between() -> None:
    pace = Pace(8)
    for _ in range(5):
        pace.answered("squeue", 0.5)
    assert (pace.slots, pace.rest_s) == (8, 0.0)
    seen = []
    for _ in range(10):
        pace.answered("squeue", 20.0)
        seen.append((pace.slots, pace.rest_s))
    assert [slots for slots, _ in seen[:4]] == [4, 2, 1, 1]
    assert [rest for _, rest in seen[2:6]] == [0.0, 1.0, 2.0, 4.0]
    assert seen[-1] == (1, LONGEST_REST_S)
    pace.answered("squeue", 0.5)
    assert pace.rest_s == 0.0
    for _ in range(40):
        pace.answered("squeue", 0.5)
    assert pace.slots == 8


def test_a_program_is_measured_against_itself() -> None:
    pace = Pace(8)
    for _ in range(10):
        pace.answered("squeue", 0.1)
        pace.answered("sha256sum", 30.0)
    assert pace.slots == 8


def test_a_host_that_became_slower_for_good_is_forgiven() -> None:
    pace = Pace(8)
    pace.answered("squeue", 1.0)
    for _ in range(200):
        pace.answered("squeue", 6.0)
    assert pace.slots == 8


@pytest.mark.feature("PA-305")
@given(st.lists(st.floats(0, 600), min_size=1, max_size=200))
@example([0.0, 10.0, 10.0, 10.0, 10.0, 3561.0, 0.5])
def test_no_hour_has_more_calls_than_may_be(gaps: list[float]) -> None:
    pace, now, made = Pace(8, per_hour=5), 0.0, []
    for gap in gaps:
        now += gap
        wait = pace.wait_s(now)
        assert wait <= HOUR_S
        if wait == 0.0:
            pace.called(now)
            made.append(now)
        assert len([at for at in made if at + HOUR_S > now]) <= 5
        assert pace.calls_last_hour(now) >= len([at for at in made if at + HOUR_S - 60 > now])


async def test_turns_go_in_order_and_follow_the_limit() -> None:
    limit, order = 2, []
    turns = Turns(lambda: limit)

    async def work(number: int) -> None:
        await turns.take()
        order.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(6)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (order, turns.running, turns.waiting) == ([0, 1], 2, 4)
    tasks[2].cancel()
    turns.give()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == [0, 1, 3]
    limit = 1
    turns.give()
    await asyncio.sleep(0)
    assert order == [0, 1, 3]
    limit = 8
    turns.give()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 3, 4, 5]


async def test_a_turn_that_was_granted_to_a_cancelled_task_is_not_lost() -> None:
    turns = Turns(lambda: 1)
    await turns.take()
    waiting = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    turns.give()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(turns.take(), 5)


async def test_hosts_are_shared_named_and_judged() -> None:
    hosts = Hosts({"gate": Host(), "inner": Host(jump="gate"), "a": Host(jump="b"), "b": Host(jump="a")})
    assert hosts.channel("inner") is hosts.channel("inner")
    assert hosts.channel("local").host == "local"
    assert [state.host for state in hosts.states()] == ["gate", "inner"]
    with pytest.raises(ValueError, match="expected one of local, a, b, gate, inner"):
        hosts.channel("iner")
    with pytest.raises(ValueError, match="through itself: a -> b -> a"):
        hosts.channel("a")
    await hosts.close()


def test_openssh_is_told_the_same(tmp_path: object) -> None:
    hosts = {
        "gate": Host(address="gate.example.org", known_hosts="/k"),
        "inner": Host(port=2222, user="prod", identity_files=["/key"], jump="gate", ssh_config="/c"),
    }
    words = openssh.options("inner", hosts)
    assert words[:2] == ["-F", "/c"]
    said = subprocess.run(
        ["ssh", "-G", *["-F", "/dev/null"], *words[2:], "inner"], check=True, capture_output=True, text=True
    ).stdout.lower()
    for expected in ("port 2222", "user prod", "identityfile /key", "batchmode yes", "stricthostkeychecking true"):
        assert expected in said, expected
    assert "proxycommand ssh" in said
    assert "gate.example.org" in said


@pytest.mark.feature("OPS-03")
async def test_hosts_come_and_change_while_the_agent_runs() -> None:
    """A host behind one that changes is reached anew too; the channels of all others stay, and all of them if it will not do."""
    far, inner = Host(address="far.example.org"), Host(address="inner", jump="a")
    hosts = Hosts({"a": Host(address="a.example.org", port=2201), "inner": inner, "far": far})
    with pytest.raises(ValueError, match="host 'b' is not configured, expected one of local, a"):
        hosts.openssh("b")
    old = {name: hosts.ssh(name) for name in ("a", "inner", "far")}
    after = {"a": Host(address="elsewhere", port=2203), "b": Host(address="b.example.org", port=2202), "inner": inner}
    before = hosts.learn(after)
    assert any("2203" in option for option in hosts.openssh("a"))
    assert any("2202" in option for option in hosts.openssh("b"))
    assert {name for name, channel in old.items() if hosts.ssh(name) is channel} == {"far"}
    await hosts.go_back(before)
    assert any("2201" in option for option in hosts.openssh("a"))
    assert {name for name, channel in old.items() if hosts.ssh(name) is channel} == set(old)
    closed: list[str] = []
    for name, channel in old.items():

        async def close(name: str = name) -> None:
            closed.append(name)

        channel.close = close  # type: ignore[method-assign]
    await hosts.part(hosts.learn(after))
    assert sorted(closed) == ["a", "inner"]
