"""The proof that every event is there exactly once, from the books and from the storages."""

from services.verify.proof import Progress, verify
from services.verify.show import sentence, shown
from services.verify.storages import Reads
from services.verify.verification import LawLine, Stray, Verification

__all__ = ["LawLine", "Progress", "Reads", "Stray", "Verification", "sentence", "shown", "verify"]
