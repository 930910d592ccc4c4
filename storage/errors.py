"""What can go wrong with a store, and whether trying again may help."""

from supervisors import Transient


class StoreError(Exception):
    """The store cannot be used as it is; the text says what to do."""


class StoreInUse(StoreError):
    """Another process has this store open."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of this program."""


class StoreForeign(StoreError):
    """The database holds tables that are not ours."""


class StoreCorrupt(StoreError):
    """The file is not a database, or a damaged one."""


class StoreLost(StoreError):
    """A newer holder has taken the store; this process must not write any more."""


class StoreAway(Transient):
    """The database does not answer or has no room; the same unit may succeed later. Nothing was written."""


class StoreUnsure(StoreAway):
    """The database went away during a commit and has not come back to say whether it holds; read before repeating."""


def named(error: StoreError, store: object) -> StoreError:
    """Return the error with the store's name before its text, if it has none yet."""
    if not str(error).startswith("store "):
        error.args = (f"store {store}: {error}",)
    return error
