"""The line and the marks of a key, and kinds of values."""

from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta


def about(text: str, **marks: bool) -> Meta:
    """The one line that explains a key, with its marks."""
    return Meta(description=text, extra=dict(marks) or None)


def fixed(text: str, **marks: bool) -> Meta:
    """The same for a key that can change only with a restart."""
    return about(text, restart=True, **marks)


def ordered(table: msgspec.Struct, *names: str) -> None:
    """Refuse a table in which a key is above the one that follows it."""
    for low, high in pairwise(names):
        if getattr(table, low) > getattr(table, high):
            raise ValueError(f"{low} = {getattr(table, low)} is above {high} = {getattr(table, high)}")


Seconds = Annotated[float, Meta(gt=0)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Percent = Annotated[float, Meta(gt=0, le=100)]
Gigabytes = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Store = Annotated[
    str,
    Meta(
        pattern=r"^(sqlite(\+aiosqlite)?:///.+|(mysql|mariadb)(\+aiomysql)?://.+/.+)$",
        description="sqlite:///file or mysql://user:${PASSWORD}@host/database",
    ),
]
Url = Annotated[str, Meta(pattern=r"^https?://[^/\s]+", description="an address that starts with http:// or https://")]
ClassPath = Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="module:Class")]
EnvironmentName = Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*$", description="the name of an environment variable")]
