"""Has the programs of a host take in and sum up many files by one command over its shared connection: tar, sha256sum, openssl.

An account without a shell, or a host without these, is not asked again; whoever asks has another way.
"""

import asyncio
import io
import tarfile
from collections.abc import Mapping, Sequence

from backends.channel.base import Answer, Channel, ChannelError
from backends.storage_element.base import StorageError
from backends.storage_element.batches import Move

SUM = "exec xargs -0 sha256sum --"
SUM_LARGE = f"command -v openssl >/dev/null || {SUM}; exec xargs -0 openssl dgst -sha256 -r"
LARGE = 30_000_000
"""openssl takes 20 to 100 ms to begin, and is then six times as fast as coreutils: 1 and 6 s of CPU for a gigabyte."""

UNPACK = """
tar -xPf - --touch --no-same-owner --no-same-permissions --unlink-first --quoting-style=literal
code=$?
[ $code -gt 2 ] && exit $code
exec sha256sum -- "$@"
"""
"""tar is not trusted with the verdict, but for what it complains of; the sums are taken of what lies there afterwards."""

MOST_BYTES = 16_000_000
"""So much goes through the shared connection at once: 0.2 s of CPU here. A child's own connection costs as much."""
LONGEST_NAMES = 60_000
"""Bytes of names that one command is given; a channel takes 120,000 of command, in which quoting may double them."""

COMMAND_S = 3600.0
"""A host gets so long for what arrived together, in seconds: at most a gigabyte, or one file."""

_NO_PROGRAM = (126, 127)


class Shell:
    """The programs of one host, as far as the account may run them: `there` is False once it turned out to have none."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.there = True

    def takes(self, moves: Sequence[Move]) -> bool:
        """Whether these may go by `take_in`."""
        names = sum(len(move.target.encode()) for move in moves)
        return self.there and sum(move.size for move in moves) <= MOST_BYTES and names <= LONGEST_NAMES

    async def take_in(self, moves: Sequence[Move]) -> Mapping[Move, str] | None:
        """Write files that `takes` has agreed to, and note what they sum up to there.

        Return of which the host complains, and how; None if it did not begin. Raise StorageError, "transient", if nobody knows
        how far it came.
        """
        try:
            packed = await asyncio.to_thread(_packed, moves)
        except OSError as fault:
            raise StorageError(f"a source cannot be read: {fault}", kind="transient") from fault
        answer = await self._run(["sh", "-c", UNPACK, "sh", *(move.target for move in moves)], packed)
        if answer is None:
            return None
        _note(moves, answer)
        lines = answer.err.decode(errors="replace").splitlines()
        found = {move: " ".join(line for line in lines if line.startswith(f"tar: {move.target}: ")) for move in moves}
        return {move: said for move, said in found.items() if said}

    async def sum_up(self, moves: Sequence[Move]) -> None:
        """Note what files sum up to there, if the host can tell."""
        if self.there:
            listed = "\0".join(move.target for move in moves).encode()
            command = SUM_LARGE if sum(move.size for move in moves) >= LARGE else SUM
            answer = await self._run(["sh", "-c", command], listed)
            if answer is not None:
                _note(moves, answer)

    async def _run(self, argv: Sequence[str], stdin: bytes) -> Answer | None:
        try:
            answer = await self._channel.run(argv, stdin=stdin, deadline_s=COMMAND_S, env={"LC_ALL": "C"})
        except ChannelError as error:
            if error.may_have_run:
                raise StorageError(str(error), kind="transient") from error
            return None
        self.there = answer.code not in _NO_PROGRAM
        return answer if self.there else None


def _note(moves: Sequence[Move], answer: Answer) -> None:
    by_path = {move.target: move for move in moves}
    for line in answer.out.decode(errors="replace").splitlines():
        told, _, path = line.partition(" ")
        if path[1:] in by_path:  # after a blank or a star
            by_path[path[1:]].told = told


def _packed(moves: Sequence[Move]) -> bytes:
    """Return an archive of the sources under their new names."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for move in moves:
            content = move.source.read_bytes()
            member = tarfile.TarInfo(move.target)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()
