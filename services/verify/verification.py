"""What a verification found."""

import msgspec

from storage.laws import Breach, LedgerRow


class LawLine(msgspec.Struct, frozen=True, kw_only=True):
    """A law and how often it is broken."""

    name: str
    text: str
    breaches: int


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """A published file that the catalogue does not know, left by an attempt whose `outcome` does not count.

    It takes room and nothing else: no event is counted from it.
    """

    site: str
    lfn: str
    size: int
    outcome: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it; `at` in UTC epoch seconds.

    `copies` and `bytes` were looked at in the storages of `sites`; `deep`: their content was read and compared as well.
    `unseen` are sites with copies on record whose storage was not given.
    """

    at: float
    holds: bool
    seconds: float
    ledger: list[LedgerRow]
    laws: list[LawLine]
    breaches: list[Breach]
    deep: bool = False
    copies: int = 0
    bytes: int = 0
    sites: list[str] = []
    unseen: list[str] = []
    strays: list[Stray] = []
