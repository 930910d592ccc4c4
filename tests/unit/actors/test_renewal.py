"""What changed settings mean for an agent that runs: what acts, what waits for a restart, who is made anew."""

import tomllib
from typing import Any

import pytest

from actors.renewal import Renewal, renewal
from config.faults import convert_collecting
from config.live import live
from config.settings import Settings
from config.verbs import compared

pytestmark = pytest.mark.feature("OPS-03")
NOTHING = Renewal(*(frozenset[str]() for _ in range(5)), log_level="")
BEFORE = """
[agent]
name = "a"
[hosts.h]
address = "h.example.org"
[[prodmgr]]
name = "one"
url = "http://one"
token_env = "T"
[[prodmgr]]
name = "two"
url = "http://two"
token_env = "T"
[sites.alps.storage]
kind = "posix"
root = "alps"
[sites.alps.targets.batch]
kind = "slurm"
host = "h"
poll_s = 5.0
[sites.alps.targets.other]
kind = "local"
"""


def settings(text: str = BEFORE) -> Settings:
    found, faults = convert_collecting(tomllib.loads(text), Settings, "test")
    assert not faults, faults
    return found  # type: ignore[no-any-return]


def changed(*pairs: tuple[str, str], more: str = "") -> Settings:
    text = BEFORE
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return settings(text + more)


def names(*words: str) -> frozenset[str]:
    return frozenset(words)


LIMITS = "[sites.alps.targets.batch.limits]\nprocessing = 7\n"
BETA = '[sites.beta.storage]\nkind = "posix"\n[sites.beta.targets.new]\nkind = "local"\n'


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (changed(), {}),
        (changed(more=LIMITS), {}),
        (changed(("poll_s = 5.0", "poll_s = 6.0")), {"targets": names("batch")}),
        (changed(('kind = "slurm"', 'kind = "slurm"\npartition = "p"')), {"targets": names("batch"), "batches": names("batch")}),
        (changed(('root = "alps"', 'root = "elsewhere"')), {"storages": names("alps"), "actors": names("transfer", "cleanup")}),
        (changed(more=BETA), {"batches": names("new"), "storages": names("beta")}),
        (changed(('[sites.alps.targets.other]\nkind = "local"\n', "")), {"targets": names("other")}),
        (changed(('name = "a"', 'name = "a"\nlog_level = "debug"')), {"log_level": "debug"}),
        (changed(more="[queue]\nlease_s = 9.0\n"), {"actors": names("queue", "steward", "reviser")}),
        (changed(more="[tracker]\nlost_s = 9.0\n"), {"targets": names("batch", "other")}),
        (changed(("h.example.org", "i.example.org")), {"targets": names("batch"), "batches": names("batch")}),
        (changed(more='[hosts.local]\ncommands_at_once = 2\n'),
         {"targets": names("other"), "batches": names("other"), "storages": names("alps"),
          "actors": names("transfer", "cleanup")}),
        (changed(more='[feed]\nfile = "feed.json"\n'), {"actors": names("feed", "steward")}),
        (changed(more='[[prodmgr]]\nname = "three"\nurl = "http://three"\ntoken_env = "T"\n'),
         {"managers": names("three"), "actors": names("allocation.three")}),
        (changed(('url = "http://two"', 'url = "http://two"\nlow = 5')),
         {"managers": names("two"), "actors": names("allocation.two")}),
    ],
)  # fmt: skip
def test_only_what_is_concerned_is_made_anew(wanted: Settings, expected: dict[str, Any]) -> None:
    before = settings()
    after = live(before, wanted)
    assert renewal(before, after) == NOTHING._replace(**expected)
    assert not any(change.restart for change in compared(before, wanted))


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (changed(('name = "a"', 'name = "b"')), ["agent.name"]),
        (changed(more="[admin]\nport = 1\n"), ["admin.port"]),
        (changed(('url = "http://two"', 'url = "http://three"')), ["prodmgr[1].url"]),
        (changed(('kind = "slurm"', 'kind = "htcondor"')), ["sites.alps.targets.batch.kind"]),
        (changed(('[hosts.h]\naddress = "h.example.org"\n', ""), ('host = "h"\n', "")), ["hosts.h.address"]),
        (changed(more='[actors.mine]\ntype = "m:C"\nunder = "watch"\n'), ["actors.mine.type", "actors.mine.under"]),
    ],
)  # fmt: skip
def test_what_needs_a_restart_is_named_and_left_as_it_is(wanted: Settings, keys: list[str]) -> None:
    before = settings()
    found = compared(before, wanted)
    assert [change.key for change in found if change.restart][: len(keys)] == keys
    after = live(before, wanted)
    kept = ("agent", "admin", "hosts", "prodmgr", "actors")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert compared(before, after) == [change for change in found if not change.restart]


def test_a_kind_that_changes_keeps_its_keys() -> None:
    wanted = changed(('kind = "slurm"\nhost = "h"', 'kind = "local"\ndirectory = "d"'))
    after = live(settings(), wanted).sites["alps"].targets["batch"]
    assert (after.kind, after.options) == ("slurm", {"host": "h"})


def test_hosts_come_live_and_the_order_of_prodmgrs_says_nothing() -> None:
    wanted = changed(more='[hosts.i]\naddress = "i"\n')
    assert set(live(settings(), wanted).hosts) == {"h", "i"}
    first, second = BEFORE.index("[[prodmgr]]"), BEFORE.rindex("[[prodmgr]]")
    end = BEFORE.index("[sites.alps.storage]")
    turned = settings(BEFORE[:first] + BEFORE[second:end] + BEFORE[first:second] + BEFORE[end:])
    assert compared(settings(), turned) == []
    assert renewal(settings(), live(settings(), turned)) == NOTHING


def test_who_works_over_a_host_that_changes_is_made_anew() -> None:
    """Directly, through another one, or in a table of its own for what is below it."""
    jump = ('address = "h.example.org"', 'address = "h.example.org"\njump = "gate"')
    gate = '[hosts.gate]\naddress = "{}"\n[sites.bern.storage]\nkind = "sftp"\nhost = "gate"\n'
    pilot = (
        '[sites.bern.targets.pilots]\nkind = "pilot"\n[sites.bern.targets.pilots.over]\nkind = "slurm"\nhost = "h"\n'
    )
    before = changed(jump, more=gate.format("one") + pilot)
    after = live(before, changed(jump, more=gate.format("two") + pilot))
    found = renewal(before, after)
    assert (found.batches, found.storages) == (names("batch", "pilots"), names("bern"))
    assert (found.targets, found.actors) == (names("batch", "pilots"), names("transfer", "cleanup"))


def test_a_prodmgr_that_goes_is_named_beside_one_that_comes() -> None:
    before = settings()
    wanted = changed(('name = "one"\nurl = "http://one"', 'name = "new"\nurl = "http://new"'))
    found = {change.key: (change.before, change.after, change.restart) for change in compared(before, wanted)}
    assert found["prodmgr[0].name"] == ('"one"', None, True)
    assert found["prodmgr[2].name"] == (None, '"new"', False)
    assert not any(key.startswith("prodmgr[1]") for key in found)
    assert [manager.name for manager in live(before, wanted).prodmgr] == ["one", "two", "new"]
