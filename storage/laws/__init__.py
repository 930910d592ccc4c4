"""The laws that a store never breaks, recomputed from its rows."""

from storage.laws.breach import Breach, Law, Limits
from storage.laws.conservation import LedgerRow, ledger
from storage.laws.statute import LAWS, check, damaged, prove

__all__ = ["LAWS", "Breach", "Law", "LedgerRow", "Limits", "check", "damaged", "ledger", "prove"]
