"""Give messages that differ only in numbers, names of files and the like one fingerprint (PA-416)."""

import hashlib
import re

_VARYING = re.compile(
    r"""(?x)
    /[^\s'":,;()<>]+            # paths, LFNs
  | \b(?=\w*\d)[0-9a-fA-F-]{8,}\b   # tokens, checksums, UUIDs
  | \d+(?:\.\d+)?               # numbers
    """
)
LONGEST = 200
"""Characters of a message that count."""


def pattern(message: str) -> str:
    """Return the first line of a message with "#" for what varies."""
    lines = message.strip().splitlines() or [""]
    return " ".join(_VARYING.sub("#", lines[0]).split())[:LONGEST]


def fingerprint(message: str) -> str:
    """Return 32 hexadecimal digits that are equal for messages of one pattern."""
    return hashlib.blake2b(pattern(message).encode(), digest_size=16).hexdigest()
