"""Regular expressions that operators write, matched in time that grows with the text alone (PA-405).

The engine is RE2 (https://github.com/google/re2/wiki/Syntax): it never goes back over a text, so no expression can hold
whoever books a failure. Python's own took 2.4 s for `(a+)+$` and 24 letters, and twice as long for each further one.
"""

from collections.abc import Callable
from functools import cache

Search = Callable[[str], object]
"""Looks for an expression in a text; what it returns is true if it is there."""


@cache
def compiled(text: str) -> Search:
    """Return what looks for an expression. Raises ValueError for what is none, or needs going back."""
    import re2  # 5 ms of CPU that a start without a failure need not wait for

    options = re2.Options()
    options.log_errors = False
    try:
        search: Search = re2.compile(text, options).search
    except re2.error as error:
        said = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"{said}; expected RE2, which has no look-around and no back-references") from None
    return search


def check(name: str, text: str) -> None:
    """Raise ValueError, with the name of the field, for a text that is no expression."""
    try:
        compiled(text)
    except ValueError as error:
        raise ValueError(f"{name} is no regular expression: {error}") from None
