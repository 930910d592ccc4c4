"""Turn plain data into structs, collecting every fault instead of stopping at the first.

`convert_collecting(data, hint, where)` walks msgspec structs, lists, dictionaries and unions leaf by leaf and answers
`(value, faults)`: the value when there is no fault, otherwise None with one `Fault` per thing that is wrong, each with
the file, the key path, what stands there and what was expected. An unknown key names the nearest known one.

Four marks in `Meta(extra={...})` of a field are understood:

* `rest`: this dictionary takes every key of its table that is no field (the free keys of a plug-in);
* `path`: a relative path, made absolute against `base` when that is given;
* `secret`: the value is never shown in a fault, and `${NAME}` (an environment variable) may stand in it;
* `verbatim`: `${NAME}` in it is none of ours.
"""

import difflib
import math
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from config.expected import expectation

_LONGEST = 80


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: `where` (the file), `key` (its path), what stands there, what was expected."""

    where: str
    key: str
    got: str
    expected: str
    nearest: str | None = None

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        said = f"got {self.got}, expected {self.expected}" if self.got else self.expected
        return f"{place}: {said}{hint}"


class Faults(Exception):
    """Everything that is wrong with one input, one line each."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        many = f"{len(self.faults)} faults" if len(self.faults) != 1 else "1 fault"
        super().__init__("\n".join([f"{many}:", *(f"  {fault}" for fault in self.faults)]))


def convert_collecting(
    data: object,
    hint: Any,
    where: str,
    *,
    at: str = "",
    base: Path | None = None,
    neighbours: Iterable[str] = (),
    only_secrets: bool = False,
) -> tuple[Any, list[Fault]]:
    """Convert `data` to the type `hint`; answer (value, []) or (None, every fault).

    `where` is the file, `at` the key path of `data` in it, `base` the directory that marked paths are relative to;
    `neighbours` are further key names to offer for a mistyped one at the top level; `only_secrets` refuses `${NAME}` in
    fields that are marked neither `secret` nor `verbatim`.
    """
    walk = _Walk(where, base, tuple(neighbours), only_secrets)
    value = walk.any(data, hint, at, top=True)
    return (None, walk.faults) if walk.faults else (value, [])


def join(path: str, key: str) -> str:
    """The key path one level deeper; a key with other than plain characters is quoted as in TOML."""
    plain = key.replace("_", "a").replace("-", "a").isalnum() and key.isascii()
    return f"{path}.{key if plain else repr(key)}" if path else (key if plain else repr(key))


def shown(value: object) -> str:
    """A value as a person wrote it, shortened."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    if isinstance(value, Mapping):
        text = f"a table with {', '.join(map(str, value)) or 'nothing in it'}"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def bare(hint: Any) -> tuple[Any, list[Meta]]:
    """The type without its annotations, and those annotations."""
    if get_origin(hint) is Annotated:
        inner, *metas = get_args(hint)
        return inner, [meta for meta in metas if isinstance(meta, Meta)]
    return hint, []


def marked(metas: Iterable[Meta], mark: str) -> bool:
    """Whether one of the annotations carries the mark."""
    return any((meta.extra or {}).get(mark) for meta in metas)


def nearest(key: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    return next(iter(difflib.get_close_matches(key, list(known), n=1, cutoff=0.55)), None)


def home(text: str) -> Path:
    """A path with `~` in place; a user who is not known leaves it as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


class _Walk:
    """One conversion: where it happens and what was found wrong so far."""

    def __init__(self, where: str, base: Path | None, neighbours: tuple[str, ...], only_secrets: bool) -> None:
        self.where = where
        self.only_secrets = only_secrets
        self.base = base
        self.neighbours = neighbours
        self.faults: list[Fault] = []

    def fault(self, key: str, got: str, expected: str, near: str | None = None) -> None:
        self.faults.append(Fault(where=self.where, key=key, got=got, expected=expected, nearest=near))

    def any(self, data: Any, hint: Any, path: str, *, top: bool = False) -> Any:
        kind, metas = bare(hint)
        origin = get_origin(kind)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(data, kind, path, top=top)
        if origin in (list, set, frozenset) or (origin is tuple and get_args(kind)[1:] == (...,)):
            return self.sequence(data, hint, path)
        if origin is dict or kind is dict:
            return self.mapping(data, hint, path)
        if origin in (Union, types.UnionType):
            return self.union(data, kind, hint, path)
        return self.leaf(data, hint, metas, path)

    def union(self, data: Any, kind: Any, hint: Any, path: str) -> Any:
        options = [option for option in get_args(kind) if option is not type(None)]
        if data is None and len(options) < len(get_args(kind)):
            return None
        metas = bare(hint)[1]
        if len(options) > 1:
            return self.leaf(data, hint, metas, path)
        return self.any(data, Annotated[(options[0], *metas)] if metas else options[0], path)

    def struct(self, data: Any, kind: type[msgspec.Struct], path: str, *, top: bool) -> Any:
        if isinstance(data, kind):
            return data
        if not isinstance(data, Mapping):
            return self.fault(path, shown(data), expectation(kind))
        before = len(self.faults)
        hints = get_type_hints(kind, include_extras=True)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        rest = next((name for name, field in fields.items() if marked(bare(hints[field.name])[1], "rest")), None)
        known = {name: data[name] for name in fields if name in data and name != rest}
        unknown = {str(key): value for key, value in data.items() if key not in known}
        if rest is not None:
            known[rest] = unknown
        elif kind.__struct_config__.forbid_unknown_fields:
            self._unknown(unknown, [*fields, *(self.neighbours if top else ())], path)
        for name, field in fields.items():
            if field.required and name not in known:
                self.fault(join(path, name), "nothing", expectation(hints[field.name]))
        values = {
            fields[name].name: self.any(value, hints[fields[name].name], path if name == rest else join(path, name))
            for name, value in known.items()
        }
        for name, field in fields.items():
            if name not in known and isinstance(field.default, str):
                values[field.name] = self._placed(field.default, bare(hints[field.name])[1])
        return self._build(kind, values, path) if len(self.faults) == before else None

    def _unknown(self, unknown: Mapping[str, Any], known: list[str], path: str) -> None:
        for key in unknown:
            near = nearest(key, known)
            expected = "a known key" if near else f"one of {', '.join(known)}" if known else "no key here"
            self.fault(join(path, key), "an unknown key", expected, near)

    def _build(self, kind: type[msgspec.Struct], values: dict[str, Any], path: str) -> Any:
        try:
            return kind(**values)
        except (ValueError, TypeError) as error:
            return self.fault(path, "", str(error))

    def sequence(self, data: Any, hint: Any, path: str) -> Any:
        kind = bare(hint)[0]
        if not isinstance(data, (list, tuple, set, frozenset)):
            return self.fault(path, shown(data), expectation(kind))
        self._size(list(data), hint, path)
        inner = get_args(kind)[0]
        return get_origin(kind)([self.any(item, inner, f"{path}[{index}]") for index, item in enumerate(data)])

    def mapping(self, data: Any, hint: Any, path: str) -> Any:
        kind = bare(hint)[0]
        if not isinstance(data, Mapping):
            return self.fault(path, shown(data), expectation(kind))
        self._size(dict(data), hint, path)
        key_hint, value_hint = get_args(kind) or (Any, Any)
        answer = {}
        for key, value in data.items():
            deeper = join(path, str(key))
            if self._refused(key, key_hint):
                self.fault(deeper, f"the name {key!r}", expectation(key_hint))
            answer[key] = self.any(value, value_hint, deeper)
        return answer

    def _size(self, data: Any, hint: Any, path: str) -> None:
        """Judge only the number of items, not the items."""
        metas = bare(hint)[1]
        empty = dict[Any, Any] if isinstance(data, dict) else list[Any]
        if metas and self._refused(data, Annotated[(empty, *metas)]):
            self.fault(path, f"{len(data)} of them", expectation(hint))

    def leaf(self, data: Any, hint: Any, metas: list[Meta], path: str) -> Any:
        secret = marked(metas, "secret")
        if isinstance(data, str) and self.only_secrets and "${" in data and not (secret or marked(metas, "verbatim")):
            return self.fault(path, shown(data), "no ${…}: an environment variable stands only in a secret")
        if self._refused(data, hint):
            finite = isinstance(data, float) and not math.isfinite(data)
            expected = f"{expectation(hint)}, finite" if finite else expectation(hint)
            return self.fault(path, "a value that is not shown" if secret else shown(data), expected)
        return self._placed(msgspec.convert(data, hint), metas)

    def _placed(self, value: Any, metas: list[Meta]) -> Any:
        """A marked path made absolute; anything else as it is."""
        if self.base is not None and isinstance(value, str) and marked(metas, "path"):
            return str(self.base / home(value))
        return value

    @staticmethod
    def _refused(data: Any, hint: Any) -> bool:
        if isinstance(data, float) and not math.isfinite(data):
            return True
        try:
            msgspec.convert(data, hint)
        except msgspec.ValidationError:
            return True
        return False
