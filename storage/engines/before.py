"""A copy of a store as it was before its schema changes, with which an older program can go on (REL-05)."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from storage.errors import StoreError

PAGES = 1000
"""Pages copied in one step: 4 MB."""


def keep_before(driver: sqlite3.Connection, path: Path, change: str) -> Path:
    """Copy an SQLite store beside itself, as NAME.before-CHANGE, and return where; one of the same name is replaced.

    It is whole or not there: copied under another name, brought to disk, renamed. Raises StoreError if there is no room.
    """
    kept = path.with_name(f"{path.name}.before-{change}")
    part = kept.with_name(f"{kept.name}.part")
    try:
        with closing(sqlite3.connect(part)) as copy:
            driver.backup(copy, pages=PAGES)
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.replace(kept)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"store {path}: its schema would change, and there is no keeping it as it was in {kept}: {error}; "
            f"expected room for {path.stat().st_size} bytes"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return kept
