"""Read what clients send; a body that will not do is refused with the field, what it got and what was expected."""

import json
import re
from typing import Any, TypeVar

import msgspec

from services.prodmgr.refusal import Refusal, bad_input

B = TypeVar("B", bound=msgspec.Struct)

_AT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_GOT = re.compile(r"Expected `(?P<expected>[^`]*)`, got `(?P<got>[^`]*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def read(body: bytes, kind: type[B]) -> B:
    """Decode a JSON body; raise Refusal 400."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise misfit(error, body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input("body", body[:60].decode(errors="replace"), f"a JSON object ({error})") from None


def misfit(error: msgspec.ValidationError, body: bytes, prefix: str = "") -> Refusal:
    """Tell which field of a JSON text is wrong."""
    match = _AT.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    field = ".".join(part for part in (prefix, path) if part)
    if unknown := _UNKNOWN.search(what):
        return bad_input(_join(field, unknown["name"]), "an unknown field", "a known one")
    if missing := _MISSING.search(what):
        return bad_input(_join(field, missing["name"]), None, "a value: the field is required")
    expected = typed["expected"] if (typed := _GOT.search(what)) else what.removeprefix("Expected ").replace("`", "")
    return bad_input(field or "body", _value(body, path), expected)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _value(body: bytes, path: str) -> Any:
    """Return the value at a path such as steps[0].command; "?" where it cannot be told."""
    try:
        value = json.loads(body)
        for key, index in _STEP.findall(path):
            value = value[int(index)] if index else value[key]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return "?"
    return value
