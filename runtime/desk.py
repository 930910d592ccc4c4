"""The agent's hands at a site: answers one question about a shared spool directory, so that each costs one command.

A question and its answer are JSON objects. Every deed may be repeated, and two desks may be at work at once: an answer that
got lost may be asked for again.

look    {seen: {WRITER: offset}, known: [batch], signs: bool}   what is new in the journals and submissions; signs of life
drop    {batch, text}                                     puts a submission there, whole or not at all
void    {tokens}                                          makes sure that tokens nobody has claimed never run
cancel  {waiting: [token], running: {TOKEN: pilot}}       ends those that no pilot has claimed, and tells the pilots of the others
judge   {dead: [pilot], tokens}                           ends the attempts that dead pilots had claimed
read    {places: [[writer, start, length]], files: [[batch, token]]}   reports, in order
watch   {attempts: [[batch, token]], tail: bytes}         what runtime/glimpse.py sees of each
trim    {attempts: [[batch, token]], most: bytes}         empties directories of more; bytes freed, in order
clean   {attempts: [[batch, token]], batches, writers}    removes what attempts left; submissions and journals nobody needs
"""

import json
import os
import signal
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from runtime import recovery, shared, spool
from runtime.attempt import remove
from runtime.glimpse import glimpse
from runtime.shared import CANCELLED, VOID, Shared
from runtime.trimming import trim

MOST_BYTES = 4 * 1024 * 1024
"""Of journals in one answer; the next one goes on from there."""
GARBAGE_S = 7 * 86400.0
"""Age at which claims and drafts are removed that belong to nothing."""
GONE = "the pilot is gone and left no report"

Answer = Dict[str, Any]


def answer(where: Shared, question: Answer) -> Answer:
    """Return the answer to a question; raise ValueError for one that nobody knows, OSError as the file system does."""
    verb = question.get("ask")
    if verb not in _VERBS:
        raise ValueError("ask is {!r}, expected one of {}".format(verb, ", ".join(sorted(_VERBS))))
    return _VERBS[verb](where, question)


def _look(where: Shared, question: Answer) -> Answer:
    known = set(question.get("known") or [])
    present = [name[:-5] for name in os.listdir(where.batches) if name.endswith(".jobs")]
    fresh = {name: _without_void(where, _header(where, name)) for name in present if name not in known}
    seen = question.get("seen") or {}
    said: Dict[str, Any] = {}
    room = MOST_BYTES
    more = False
    for name in sorted(os.listdir(where.journal)):  # after the submissions: what ended was submitted
        writer = name[:-6]
        if name.endswith(".jsonl") and not more:
            text, more = _since(where.journal_of(writer), int(seen.get(writer, 0)), room)
            room = max(1, room - len(text))
            if text:
                said[writer] = text.decode("utf-8", "replace")
    signs = _signs(where) if question.get("signs") else None
    return {"batches": fresh, "gone": sorted(known - set(present)), "said": said, "more": more, "signs": signs}


def _header(where: Shared, name: str) -> List[Any]:
    with open(where.batch(name), "rb") as source:
        return [job[:2] for job in json.loads(source.readline().decode())["jobs"]]


def _without_void(where: Shared, jobs: List[Any]) -> List[Any]:
    """Return the jobs of a submission with None for those that came too late."""
    return [None if recovery.claim_of(where.claim_of(token)) == VOID else [token, cores] for token, cores in jobs]


def _since(path: str, offset: int, most: int) -> Tuple[bytes, bool]:
    """Return the whole lines after an offset, `most` bytes of them but one line at least, and whether more follows."""
    with open(path, "rb") as source:
        source.seek(offset)
        raw = source.read(most)
        while raw and b"\n" not in raw:
            further = source.read(MOST_BYTES)
            if not further:
                return b"", False  # a line that is being written, or was torn
            raw += further
        rest = bool(source.read(1))
    return raw[: raw.rfind(b"\n") + 1], rest


def _signs(where: Shared) -> Dict[str, float]:
    """Return the age in seconds of each pilot's sign of life, by the clock of the file server alone."""
    probe = os.path.join(where.drafts, ".clock.{}".format(os.getpid()))
    with open(probe, "w"):
        pass
    now = os.stat(probe).st_mtime
    os.unlink(probe)
    ages = {}
    with os.scandir(where.pilots) as entries:
        for entry in entries:
            if not entry.name.endswith(".told"):
                with suppress(FileNotFoundError):
                    ages[entry.name] = round(now - entry.stat().st_mtime, 3)
    return ages


def _drop(where: Shared, question: Answer) -> Answer:
    name = question["batch"]
    draft = os.path.join(where.drafts, "{}.{}".format(name, os.getpid()))
    with open(draft, "wb") as sink:
        sink.write(question["text"].encode())
        sink.flush()
        os.fsync(sink.fileno())
    os.rename(draft, where.batch(name))
    return {}


def _void(where: Shared, question: Answer) -> Answer:
    for token in question["tokens"]:
        recovery.claim(where.claim_of(token), VOID)
    return {}


def _cancel(where: Shared, question: Answer) -> Answer:
    pilots = dict(question.get("running") or {})
    for token in question.get("waiting") or []:
        if recovery.claim(where.claim_of(token), CANCELLED):
            _end(where, token, CANCELLED)
        else:
            pilots[token] = _pilot_of(where, token)
    for token, pilot in pilots.items():
        if pilot and os.path.exists(where.sign(pilot)):
            shared.tell(where, pilot, token)
    return {}


def _judge(where: Shared, question: Answer) -> Answer:
    dead = set(question["dead"])
    for pilot in dead:  # should it come back after all, it takes nothing more
        if os.path.exists(where.sign(pilot)):
            shared.tell(where, pilot, shared.STOP)
    for token in question["tokens"]:
        if _pilot_of(where, token) in dead:
            _end(where, token, GONE, number=int(signal.SIGKILL))
    return {}


def _end(where: Shared, token: str, reason: str, number: Optional[int] = None) -> None:
    text = spool.line(spool.ENDED, token, reason=reason, signal=number, at=time.time())
    descriptor = os.open(where.journal_of(where.writer), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        spool.append(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pilot_of(where: Shared, token: str) -> str:
    who = recovery.claim_of(where.claim_of(token)) or ""
    return who.partition("/")[0] if "/" in who else ""


def _read(where: Shared, question: Answer) -> Answer:
    reports = []
    for writer, start, length in question.get("places") or []:
        with open(where.journal_of(writer), "rb") as source:
            reports.append(os.pread(source.fileno(), length, start).decode("utf-8", "replace"))
    files = [_text(os.path.join(where.job(batch, token), spool.REPORT)) for batch, token in question.get("files") or []]
    return {"places": reports, "files": files}


def _watch(where: Shared, question: Answer) -> Answer:
    tail = int(question.get("tail") or 0)
    return {"shown": [glimpse(where.job(batch, token), tail) for batch, token in question["attempts"]]}


def _trim(where: Shared, question: Answer) -> Answer:
    most = int(question["most"])
    return {"freed": [trim(where.job(batch, token), most) for batch, token in question["attempts"]]}


def _text(path: str) -> Optional[str]:
    try:
        with open(path, "rb") as source:
            return source.read().decode("utf-8", "replace")
    except OSError:
        return None


def _clean(where: Shared, question: Answer) -> Answer:
    for batch, token in question["attempts"]:
        remove(where.job(batch, token))
    text = spool.line(spool.CLEANED, "", tokens=[token for _, token in question["attempts"]])
    with open(where.journal_of(where.writer), "ab", buffering=0) as sink:
        spool.append(sink.fileno(), text)
    for batch in question.get("batches") or []:
        _forget(where, batch)
    for writer in question.get("writers") or []:
        with suppress(FileNotFoundError):
            os.unlink(where.journal_of(writer))
        with suppress(FileNotFoundError):
            os.unlink(where.sign(writer))
        remove(where.told(writer))
    return {}


def _forget(where: Shared, batch: str) -> None:
    """Remove a submission, and only then the claims of its jobs: a pilot looks for both."""
    with suppress(FileNotFoundError):
        tokens = [job[0] for job in _header(where, batch)]
        os.unlink(where.batch(batch))
        for token in tokens:
            with suppress(FileNotFoundError):
                os.unlink(where.claim_of(token))
    remove(where.batch_directory(batch))


def sweep(where: Shared) -> None:
    """Remove claims and drafts that have belonged to nothing for GARBAGE_S; once when an agent opens the directory."""
    now = time.time()
    owned: Set[str] = set()
    for name in os.listdir(where.batches):
        if name.endswith(".jobs"):
            owned.update(job[0] for job in _header(where, name[:-5]))
    for folder in [where.drafts] + [os.path.join(where.claims, name) for name in os.listdir(where.claims)]:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            with suppress(OSError):
                if name not in owned and now - os.lstat(path).st_mtime > GARBAGE_S:
                    os.unlink(path)


def _open(where: Shared, _: Answer) -> Answer:
    where.create()
    sweep(where)
    return {}


_VERBS: Dict[str, Callable[[Shared, Answer], Answer]] = {
    "open": _open,
    "look": _look,
    "drop": _drop,
    "void": _void,
    "cancel": _cancel,
    "judge": _judge,
    "read": _read,
    "watch": _watch,
    "trim": _trim,
    "clean": _clean,
}
