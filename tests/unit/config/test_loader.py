"""Loading a configuration file: what holds, and every kind of fault."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from config.loader import ConfigError, Loaded, load

pytestmark = pytest.mark.feature("OPS-03")

GOOD = """
[agent]
name = "a"
[sites.alpha.storage]
kind = "posix"
root = "data"
[sites.alpha.targets.one]
kind = "local"
slots = 3
"""
SITE = GOOD.partition("[sites")[1] + GOOD.partition("[sites")[2]


class Local(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slots: int = 1
    root: str = ""


def schemas(family: str, kind: str) -> type[msgspec.Struct] | None:
    if kind in ("local", "posix"):
        return Local
    raise LookupError(f"one of local, posix ({family})")


Read = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reader(text: str, **environ: str) -> Loaded:
        (tmp_path / "agent.toml").write_text(text, encoding="utf-8")
        return load(tmp_path / "agent.toml", schemas, environ)

    return reader


def messages(read: Read, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **environ)
    return [f"{fault.key}: got {fault.got}, expected {fault.expected}" for fault in caught.value.faults]


def test_a_good_file_has_absolute_paths_and_its_plugins_keys(read: Read, tmp_path: Path) -> None:
    loaded = read(GOOD)
    target = loaded.settings.sites["alpha"].targets["one"]
    assert loaded.base == tmp_path
    assert loaded.settings.agent.state == str(tmp_path / "state")
    assert loaded.settings.agent.store == f"sqlite:///{tmp_path}/state/agent.db"
    assert target.options == {"slots": 3}
    assert loaded.plugin(target, Local, "sites.alpha.targets.one") == Local(slots=3)


def test_plugin_settings_report_faults_like_the_rest(read: Read) -> None:
    target = read(GOOD).settings.sites["alpha"].targets["one"]
    with pytest.raises(ConfigError, match=r"sites\.alpha\.targets\.one\.slots: got 3, expected text"):
        read(GOOD).plugin(target, msgspec.defstruct("Other", [("slots", str)]), "sites.alpha.targets.one")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["agent: got nothing, expected a table with name", "sites: got no enabled target"]),
        (GOOD + "[quue]\n", ["quue: got an unknown key, expected a known key"]),
        (GOOD + "[queue]\nsweep_s = 0\n", ["queue.sweep_s: got 0, expected a number above 0"]),
        (
            GOOD + "limits = {merge = -1}\n",
            ["sites.alpha.targets.one.limits.merge: got -1, expected a whole number of"],
        ),
        (GOOD.replace("slots", "slotz"), ["sites.alpha.targets.one.slotz: got an unknown key"]),
        (
            GOOD.replace('"local"', '"lokal"'),
            ["sites.alpha.targets.one.kind: got 'lokal', expected one of local, posix"],
        ),
        (GOOD.replace("alpha", '"a b"'), ["sites.'a b': got the name 'a b', expected text: letters, digits"]),
        (GOOD + "enabled = false\n", ["sites: got no enabled target, expected at least one enabled site"]),
        (
            GOOD + "[sites.alpha]\nenabled = false\n",
            ["sites: got no enabled target, expected at least one enabled site"],
        ),
        (
            GOOD + SITE.replace("alpha", "beta"),
            ["sites.beta.targets.one: got the target name 'one' again, expected one that differs from sites.alpha"],
        ),
        (
            GOOD + "[transfer]\nretry_base_s = 9000.0\n",
            ["transfer: got , expected retry_base_s = 9000.0 is above retry_cap_s = 5400.0"],
        ),
        (
            GOOD + "[actors.x]\ntype = 'nowhere'\nunder = 'core'\n",
            ["actors.x.type: got 'nowhere', expected text: module"],
        ),
        (GOOD + "[actors.x]\ntype = 'm:C'\nunder = 'core'\n", ["actors.x.type: got 'm:C', expected one of local"]),
    ],
)
def test_each_kind_of_fault(read: Read, text: str, expected: list[str]) -> None:
    found = messages(read, text)
    assert len(found) == len(expected), found
    assert all(message.startswith(start) for message, start in zip(found, expected, strict=True)), found


PRODMGR = '[[prodmgr]]\nname = "p"\nurl = "http://127.0.0.1:1"\n'


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", "prodmgr[0]: got , expected exactly one of token_file and token_env expected, got neither"),
        ('token_env = "T"\ntoken_file = "agent.toml"\n', "prodmgr[0]: got , expected exactly one of token_file and"),
        (
            'token_env = "UNSET"\n',
            "prodmgr[0].token_env: got 'UNSET', expected the environment variable UNSET to be set",
        ),
        ('token_file = "a\\u0000b"\n', "prodmgr[0].token_file: got 'a\\x00b', expected a file that is there"),
        ('token_file = "absent"\n', "prodmgr[0].token_file: got 'absent', expected a file that is there"),
        ('token_env = "T"\n' + PRODMGR + 'token_env = "T"\n', "prodmgr[1].name: got 'p' again, expected a name that"),
        (
            'token_env = "T"\nretry_base_s = 900\n',
            "prodmgr[0]: got , expected retry_base_s = 900.0 is above retry_cap_s = 600.0",
        ),
    ],
)
def test_tokens_and_names_of_prodmgrs(read: Read, more: str, expected: str) -> None:
    (message,) = messages(read, GOOD + PRODMGR + more, T="secret")
    assert message.startswith(expected)


def test_faults_of_every_stage_come_together(read: Read) -> None:
    text = GOOD.replace("slots", "slotz").replace('name = "a"', 'nam = "a"\nstore = "oracle://x"') + PRODMGR
    keys = [message.partition(": ")[0] for message in messages(read, text + 'token_env = "UNSET"\n')]
    assert keys == ["agent.nam", "agent.name", "agent.store", "prodmgr[0].token_env", "sites.alpha.targets.one.slotz"]


def test_secrets_are_referred_to_and_never_shown(read: Read) -> None:
    store = 'name = "a"\nstore = "mysql://u:${DB_PASSWORD}@db/agent"'
    loaded = read(GOOD.replace('name = "a"', store), DB_PASSWORD="hush")
    assert "hush" not in repr(loaded)
    assert loaded.store_url({"DB_PASSWORD": "hush"}) == "mysql://u:hush@db/agent"
    assert messages(read, GOOD.replace('name = "a"', store)) == [
        "agent.store: got ${DB_PASSWORD}, expected the environment variable DB_PASSWORD to be set"
    ]
    (message,) = messages(read, GOOD.replace('name = "a"', store.replace("${DB_PASSWORD}", "hush")))
    assert "hush" not in message


@pytest.mark.parametrize("store", ["sqlite:////var/lib/a.db", "sqlite:///:memory:", "mysql://u@h/db"])
def test_other_stores_stay_as_written(read: Read, store: str) -> None:
    assert read(GOOD.replace('name = "a"', f'name = "a"\nstore = "{store}"')).settings.agent.store == store


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file"),
        (b"a = \n", "not TOML: .*line 1"),
        (b"a = 1\na = 2\n", "not TOML: .*line 2"),
        (b"a = '\xff'", "not UTF-8 at byte 5"),
        (b"a = " + b"9" * 5000, "not TOML: .*digits"),
        (b"a = " + b"[" * 100_000, "not TOML: .*recursion"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "agent.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"agent.toml: {expected}"):
        load(path)


def test_a_directory_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_paths_that_need_not_be_set_start_at_the_file_too(read: Read, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    loaded = read(
        GOOD
        + '[hosts.h]\nknown_hosts = "keys"\n[feed]\nfile = "feed.json"\n'
        + '[[prodmgr]]\nname = "p"\nurl = "http://p"\ntoken_file = "token"\n'
    ).settings
    (manager,) = loaded.prodmgr
    found = (loaded.hosts["h"].known_hosts, loaded.feed.file, manager.token_file)
    assert found == tuple(str(tmp_path / name) for name in ("keys", "feed.json", "token"))
