"""Say in words what a type accepts: "a whole number from 1 to 9999", "one of 'mc', 'data'"."""

from typing import Annotated, Any, get_args, get_origin

from msgspec import inspect


def expectation(hint: Any) -> str:
    """What a value of this type looks like, in words for a fault or for the reference."""
    if get_origin(hint) is Annotated:
        for meta in get_args(hint)[1:]:
            if getattr(meta, "pattern", None) and meta.description:
                return f"text: {meta.description}"
    return _words(inspect.type_info(hint))


def _words(info: inspect.Type) -> str:
    if isinstance(info, inspect.Metadata):
        described = (info.extra_json_schema or {}).get("description")
        patterned = isinstance(info.type, inspect.StrType) and info.type.pattern is not None
        return f"text: {described}" if patterned and described else _words(info.type)
    if isinstance(info, inspect.UnionType):
        return " or ".join(_words(item) for item in info.types if not isinstance(item, inspect.NoneType))
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return ("a whole number" if isinstance(info, inspect.IntType) else "a number") + _bounds(info)
    if isinstance(info, inspect.StrType):
        return "text" + _shape(info)
    if isinstance(info, inspect.LiteralType | inspect.EnumType):
        values = info.values if isinstance(info, inspect.LiteralType) else [item.value for item in info.cls]
        return f"one of {', '.join(repr(value) for value in values)}" if len(values) > 1 else repr(values[0])
    return _container(info)


def _container(info: inspect.Type) -> str:
    if isinstance(info, inspect.DictType):
        held = _words(info.value_type)
        return f"named tables{held[7:]}" if held.startswith("a table") else f"a table of {held}"
    if isinstance(info, inspect.CollectionType):
        least = f" with at least {info.min_length}" if info.min_length else ""
        held = _words(info.item_type)
        return f"a list of {f'tables{held[7:]}' if held.startswith('a table') else held}{least}"
    if isinstance(info, inspect.StructType):
        required = [field.encode_name for field in info.fields if field.required]
        return f"a table with {', '.join(required)}" if required else "a table"
    return {inspect.BoolType: "true or false", inspect.AnyType: "any value"}.get(type(info), _name(info))


def _name(info: inspect.Type) -> str:
    return type(info).__name__.removesuffix("Type").lower()


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    low = f"from {info.ge}" if info.ge is not None else f"above {info.gt}" if info.gt is not None else ""
    high = f"to {info.le}" if info.le is not None else f"below {info.lt}" if info.lt is not None else ""
    if low and not high and info.ge is not None:
        return f" of at least {info.ge}"
    if high and not low and info.le is not None:
        return f" of at most {info.le}"
    return "".join(f" {part}" for part in (low, high) if part)


def _shape(info: inspect.StrType) -> str:
    if info.pattern is not None:
        return f" that matches {info.pattern}"
    return f" of at least {info.min_length} characters" if info.min_length else ""
