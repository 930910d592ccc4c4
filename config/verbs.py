"""What can be asked about a configuration: new, check, explain, diff."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from config.faults import Fault, nearest
from config.keys import Key, all_keys, flat, matches, plain, toml
from config.live import live
from config.loader import ConfigError, examine, written
from config.plugins import Schemas
from config.secret import HIDDEN, telling
from config.settings import Settings

_HERE = Path(__file__).parent


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key whose value differs: `before` and `after` as TOML, None where it is not set; does it need a restart?"""

    key: str
    before: str | None
    after: str | None
    restart: bool

    def __str__(self) -> str:
        note = "  (needs a restart)" if self.restart else ""
        return f"{self.key}: {self.before or 'not set'} -> {self.after or 'not set'}{note}"


def new(path: str | Path, *, minimal: bool = False) -> str:
    """Write a configuration to start from, never over a file that is there, and answer its text.

    It shows every key with its default, or, when `minimal`, the least that runs.
    """
    text = example(minimal=minimal)
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        expected = f"cannot be written: {error.strerror}; expected a new file in a directory that is there"
        raise ConfigError([Fault(where=str(path), key="", got="", expected=expected)]) from error
    return text


def example(*, minimal: bool = False) -> str:
    """The commented reference, or the least configuration that runs."""
    return (_HERE / ("minimal.toml" if minimal else "example.toml")).read_text(encoding="utf-8")


def check(path: str | Path, schemas: Schemas | None = None) -> list[Fault]:
    """Everything that is wrong with a configuration; nothing when it can be used."""
    return examine(path, schemas)[1]


def explain(asked: str) -> str:
    """What a key or table is for, what it takes and its default; raise LookupError with the nearest one for an unknown.

    `asked` is a whole path (`sites.alpha.targets.a.poll_s`, `prodmgr[0].url`), or the last part of one (`poll_s`).
    """
    keys = [key for key in all_keys() if not key.free]
    found = [key for key in keys if matches(key, asked)] or [key for key in keys if key.name == asked]
    if not found:
        near = nearest(asked, [name for key in keys for name in (key.path, key.name)])
        hint = f"; did you mean {near!r}?" if near else ""
        raise LookupError(f"got the key {asked!r}, expected one that may be set{hint}")
    return "\n\n".join(_explained(key) for key in found)


def diff(path: str | Path, other: str | Path | None = None) -> list[Change]:
    """What a configuration sets apart from the defaults, or what `other` changes against it; secrets are not shown."""
    if other is not None:
        return compared(written(path), written(other))
    return [
        Change(key=key, before=_text(key, {}), after=_text(key, {key: value}), restart=_restart(key))
        for key, value in _set_apart(written(path)).items()
    ]


def compared(now: Settings, wanted: Settings) -> list[Change]:
    """What other settings change while an agent runs, and what of it waits for a restart; secrets are not shown."""
    slots = {name: n for n, name in enumerate(dict.fromkeys(one.name for one in (*now.prodmgr, *wanted.prodmgr)))}
    before, after, acting = (_slotted(settings, slots) for settings in (now, wanted, live(now, wanted)))
    return [
        Change(key=key, before=_text(key, before), after=_text(key, after), restart=_at(acting, key) != _at(after, key))
        for key in dict.fromkeys([*before, *after])
        if _at(before, key) != _at(after, key)
    ]


def _slotted(settings: Settings, slots: dict[str, int]) -> dict[str, Any]:
    """The same, with each ProdMgr at the place of its name: the order in a file says nothing."""
    places = {f"prodmgr[{n}]": f"prodmgr[{slots[one.name]}]" for n, one in enumerate(settings.prodmgr)}
    leaves = ((key.partition("."), value) for key, value in _set_apart(settings).items())
    return {f"{places.get(table, table)}{dot}{rest}": value for (table, dot, rest), value in leaves}


def _at(leaves: dict[str, Any], key: str) -> Any:
    return leaves.get(key, msgspec.UNSET)


def _set_apart(settings: Settings) -> dict[str, Any]:
    """The leaves that differ from their defaults."""
    return {path: value for path, value in flat(plain(settings)) if value not in ({}, []) and value != _default(path)}


def _default(path: str) -> Any:
    key = _key(path)
    return plain(key.default) if key else msgspec.UNSET


def _key(path: str) -> Key | None:
    return next((key for key in _leaves().get(path.rpartition(".")[2], ()) if matches(key, path)), None)


@cache
def _leaves() -> dict[str, list[Key]]:
    """The keys that are no tables, by their last part: to look through all of them took half a second for three sites."""
    found: dict[str, list[Key]] = {}
    for key in all_keys():
        if key.table is None:
            found.setdefault(key.name, []).append(key)
    return found


def _text(path: str, leaves: dict[str, Any]) -> str | None:
    value = leaves.get(path, _default(path))
    if value is None or value is msgspec.UNSET:
        return None
    key = _key(path)
    return HIDDEN if (key.secret if key else telling(path)) else toml(value)


def _restart(path: str) -> bool:
    """Whether a change needs a restart; the keys of the backends do not."""
    key = _key(path)
    return key is not None and key.restart


def _explained(key: Key) -> str:
    lines = [key.path, f"  {key.about}"]
    if key.table is not None:
        inside = [item.path.removeprefix(f"{key.path}.") for item in all_keys(key.table, key.path) if not item.free]
        return "\n".join([*lines, f"  holds: {', '.join(dict.fromkeys(name.split('.')[0] for name in inside))}"])
    return "\n".join([*lines, f"  takes: {key.takes}", f"  default: {default_text(key)}", *_notes(key)])


def default_text(key: Key) -> str:
    """The default as TOML, or a word for none."""
    if key.default is msgspec.UNSET:
        return "none, it must be given"
    return "not set" if key.default is None else toml(key.default)


def _notes(key: Key) -> list[str]:
    notes = ["  a change needs a restart"] if key.restart else []
    return (
        [*notes, "  ${NAME} in it stands for an environment variable; its value is never shown"]
        if key.secret
        else notes
    )
