"""The life of a file as one table."""

from enum import StrEnum

from domain import events as e
from domain.transition import Move, StateTable


class FileKind(StrEnum):
    """What a file is to the outside: only merged ones ever leave the site that made them."""

    UNMERGED = "unmerged"
    MERGED = "merged"


class FileState(StrEnum):
    UNMERGED = "unmerged"
    UNDERMERGE = "undermerge"
    MERGED = "merged"
    REGISTERED = "registered"
    CATALOGUED = "catalogued"
    INVALID = "invalid"
    REMOVING = "removing"
    REMOVEFAILED = "removefailed"
    REMOVED = "removed"


F = FileState
FILE_TABLE: StateTable[FileState] = StateTable(
    "file",
    FileState,
    final=frozenset({F.REMOVED}),
    moves={
        e.UnmergedRegistered: Move((), F.UNMERGED),
        e.MergedRegistered: Move((), F.REGISTERED),
        e.FilesUnderMerge: Move((F.UNMERGED,), F.UNDERMERGE),
        e.FilesReturned: Move((F.UNDERMERGE,), F.UNMERGED),
        e.FilesMerged: Move((F.UNDERMERGE,), F.MERGED),
        e.FilesInvalidated: Move((F.UNMERGED, F.UNDERMERGE, F.REGISTERED), F.INVALID),
        e.FilesCatalogued: Move((F.REGISTERED,), F.CATALOGUED),
        e.FilesRemoving: Move((F.MERGED, F.INVALID, F.REMOVEFAILED), F.REMOVING),
        e.FilesRemoved: Move((F.REMOVING,), F.REMOVED),
        e.FileRemovalsFailed: Move((F.REMOVING,), F.REMOVEFAILED),
    },
)


class BlockState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


BLOCK_TABLE: StateTable[BlockState] = StateTable(
    "block",
    BlockState,
    final=frozenset({BlockState.CLOSED}),
    moves={
        e.BlocksOpened: Move((), BlockState.OPEN),
        e.BlocksClosed: Move((BlockState.OPEN,), BlockState.CLOSED),
    },
)
