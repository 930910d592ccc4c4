"""The rules in force: those that the configuration adds, in versions, so that whoever books a failure classifies it alike."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
import sqlalchemy as sa

from domain.rules import Rule, RuleBook
from storage import schema
from storage.engine import Connection
from storage.transaction import Tx

rulebook = schema.rulebook
_NEWEST = sa.select(rulebook.c.version, rulebook.c.rules).order_by(rulebook.c.version.desc()).limit(1)


def current(connection: Connection) -> RuleBook:
    """Return the newest version; the built-in rules alone where nobody has added any."""
    row = connection.execute(_NEWEST).one_or_none()
    return _book(row.rules, row.version) if row is not None else _book("[]", 0)


def install(tx: Tx, rules: Sequence[Rule]) -> RuleBook:
    """Put the rules of the configuration in force, as a new version if they are not those of the last one."""
    text = msgspec.json.encode(list(rules)).decode()
    newest = tx.connection.execute(_NEWEST).one_or_none()
    version, before = (newest.version, newest.rules) if newest is not None else (0, "[]")
    if text != before:  # as text: rules that another release took may be none for this one
        version += 1
        tx.connection.execute(rulebook.insert().values(version=version, at=tx.now, rules=text))
    return _book(text, version)


@lru_cache(maxsize=8)
def _book(text: str, version: int) -> RuleBook:
    """Made once per version: its expressions are compiled."""
    return RuleBook(msgspec.json.decode(text, type=list[Rule]), version)
