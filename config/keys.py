"""Every key that may be set, read from the structs: what it is for, what it takes, its default.

A path names a key as in a fault, with `<name>` for a name of the writer's own: `sites.<name>.targets.<name>.poll_s`,
`prodmgr[].url`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from config.expected import expectation
from config.faults import bare, join, marked
from config.settings import Settings


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key, or a whole table (`table` is its struct). `default` is UNSET for a key that must be given."""

    path: str
    takes: str
    about: str
    default: Any = msgspec.UNSET
    table: type[msgspec.Struct] | None = None
    restart: bool = False
    secret: bool = False
    free: bool = False

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


@cache
def all_keys(kind: type[msgspec.Struct] = Settings, path: str = "") -> tuple[Key, ...]:
    """Every key of a struct and of the tables in it, in the order of the file."""
    return tuple(_keys(kind, path))


def _keys(kind: type[msgspec.Struct], path: str) -> Iterator[Key]:
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        inner, metas = bare(hint)
        deeper, table = _table(inner, join(path, field.encode_name))
        described = [meta.description for meta in metas if meta.description]
        yield Key(
            path=deeper,
            takes=expectation(hint),
            about=described[-1] if described else "",
            default=_default(field),
            table=table,
            restart=marked(metas, "restart"),
            secret=marked(metas, "secret"),
            free=marked(metas, "rest"),
        )
        if table is not None:
            yield from _keys(table, deeper)


def _table(kind: Any, path: str) -> tuple[str, type[msgspec.Struct] | None]:
    """The struct behind a table, a list of tables or a table of named tables."""
    if get_origin(kind) is list and _is_struct(get_args(kind)[0]):
        return f"{path}[]", get_args(kind)[0]
    if get_origin(kind) is dict and _is_struct(get_args(kind)[1]):
        return f"{path}.<name>", get_args(kind)[1]
    return path, kind if _is_struct(kind) else None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return msgspec.UNSET if field.default is msgspec.NODEFAULT else field.default


def matches(key: Key, asked: str) -> bool:
    """Whether a path such as `sites.alpha.targets.a.poll_s`, `sites.alpha` or `prodmgr[0].url` is of this key."""
    return _fits(key.path, asked) or (key.path.endswith(".<name>") and _fits(key.path.removesuffix(".<name>"), asked))


def _fits(path: str, asked: str) -> bool:
    parts = (re.escape(part) for part in re.split(r"<name>|\[\]", path))
    marks = (
        "([^.]+|'[^']*'|\"[^\"]*\")" if mark == "<name>" else r"(\[\d*\])?" for mark in re.findall(r"<name>|\[\]", path)
    )
    pattern = "".join(part + mark for part, mark in zip(parts, [*marks, ""], strict=True))
    return re.fullmatch(pattern, asked) is not None


def plain(value: Any) -> Any:
    """A struct as the table that would be written for it: free keys in place, what is unset left out."""
    if isinstance(value, msgspec.Struct):
        hints = get_type_hints(type(value), include_extras=True)
        table: dict[str, Any] = {}
        for field in msgspec.structs.fields(value):
            held = plain(getattr(value, field.name))
            if marked(bare(hints[field.name])[1], "rest"):
                table |= held
            elif held is not None:
                table[field.encode_name] = held
        return table
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf of a plain table with its path; an empty table counts as a leaf."""
    if isinstance(value, Mapping) and (value or not path):
        for key, item in value.items():
            yield from flat(item, join(path, str(key)))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for index, item in enumerate(value):
            yield from flat(item, f"{path}[{index}]")
    else:
        yield path, value


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, float) and value.is_integer():
        return f"{value:.1f}"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
