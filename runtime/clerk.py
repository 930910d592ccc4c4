"""The agent's clerk on a login node: one call of it does what is asked for many jobs, in one round trip.

A request is a JSON object on standard input, the answer one on standard output. It knows no batch system: the commands
come with the request, and what they print goes back as it is.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List

from runtime import report
from runtime.glimpse import glimpse
from runtime.site_spool import HEARTBEAT, LOG, VOID, VOID_KEPT_S, SiteSpool, read
from runtime.trimming import trim

FETCH_BYTES = 6 * 1024 * 1024
"""Reports of more than so many bytes wait for the next call: the channel carries 16 MiB."""
COMMAND_S = 40.0
"""A command that takes longer is killed, in seconds, if the request says nothing else."""

Record = Dict[str, Any]


class Clerk(object):
    """Answers one request about the jobs below `root`."""

    def __init__(self, root: str, request: Record) -> None:
        self.where = SiteSpool(root)
        self.request = request
        meddling = tuple(request.get("unset", ()))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(meddling)}
        self.environment: Dict[str, str] = dict(kept, **request.get("environment", {}))
        self.until = time.monotonic() + float(request.get("deadline_s", COMMAND_S))

    def answer(self) -> Record:
        """Do what is asked for. Raise KeyError for an operation that there is not."""
        doings: Dict[str, Callable[[], Record]] = {
            "open": self.open,
            "submit": self.submit,
            "find": self.find,
            "fence": self.fence,
            "poll": self.poll,
            "parcels": self.parcels,
            "run": self.run,
            "cancel": self.cancel,
            "fetch": self.fetch,
            "watch": self.watch,
            "trim": self.trim,
            "clean": self.clean,
        }
        return doings[self.request["do"]]()

    def open(self) -> Record:
        """Make the directories, forget old void marks, and run the commands, which ask what the system is."""
        self.where.create()
        before = time.time() - VOID_KEPT_S
        for token in self._void_tokens(before):
            shutil.rmtree(self.where.job(token), ignore_errors=True)
        return {"answers": self._commands()}

    def submit(self) -> Record:
        """Hand over the parcels in order. A token that was seen before is left out; so is what finds no time."""
        return {"parcels": [self._hand_over(parcel) for parcel in self.request["parcels"]]}

    def _hand_over(self, parcel: Record) -> Record:
        if time.monotonic() >= self.until:
            return {"late": True}
        name = parcel["name"]
        fresh = []
        for index, (token, spec) in enumerate(parcel["jobs"]):
            if self.where.begin(token):
                directory = self.where.job(token)
                report.write(os.path.join(directory, "spec.json"), spec.encode())
                os.symlink("{}/{}".format(name, index), os.path.join(directory, "parcel"))
                fresh.append(index)
        known = {}
        if len(fresh) < len(parcel["jobs"]):
            tokens = [token for index, (token, _) in enumerate(parcel["jobs"]) if index not in set(fresh)]
            known = {token: self._record(token, {}) for token in tokens}
        if not fresh:
            return {"known": known}
        listed = "\n".join(token for token, _ in parcel["jobs"]) + "\n"
        report.write(os.path.join(self.where.parcels, name + ".tokens"), listed.encode())
        self._write_script(name, parcel["script"])
        argv = [_fill(word, fresh) for word in parcel["argv"]]
        sent = self._run(argv, _fill(parcel["stdin"], fresh))
        report.write(os.path.join(self.where.parcels, name + ".sent"), json.dumps(sent).encode())
        return {"known": known, "sent": sent}

    def _write_script(self, name: str, script: str) -> None:
        path = os.path.join(self.where.parcels, name + ".sh")
        report.write(path, script.encode())
        os.chmod(path, 0o700)

    def find(self) -> Record:
        """Tell all that is known of tokens; one that was never begun is fenced, so that it never will be."""
        tokens: List[str] = self.request["tokens"]
        parcels: Dict[str, Record] = {}
        for token in tokens:
            if self.where.begin(token):
                self.where.claim(token, VOID)
        records = {token: self._record(token, parcels) for token in tokens}
        answers = self._commands()
        for token in tokens:  # after the queue: an end that the queue does not know yet is an end
            records[token]["end"] = self.where.ended(token)
            records[token]["run"] = self.where.runner(token)
        return {"tokens": records, "answers": answers}

    def fence(self) -> Record:
        """See to it that these never run; return who runs those that do. One without a directory gets one: it was cleaned up
        before this late request came, or its submission is later still."""
        running = {}
        for token in self.request["tokens"]:
            self.where.begin(token)
            if not self.where.claim(token, VOID):
                running[token] = self.where.runner(token)
        return {"running": running}

    def poll(self) -> Record:
        """Run the commands, and tell the ends that were written at `since` or later, in the file system's own time."""
        answers = self._commands()
        since, latest, ends = float(self.request["since"]), 0.0, []
        with os.scandir(self.where.ends) as entries:
            for entry in entries:
                if entry.name.endswith(".part"):
                    continue
                try:
                    changed = entry.stat().st_mtime
                except OSError:
                    continue
                latest = max(latest, changed)
                if changed >= since:
                    ends.append(self.where.ended(entry.name))
        return {"answers": answers, "ends": [end for end in ends if end], "latest": latest}

    def parcels(self) -> Record:
        """Return the tokens of parcels; a parcel that is no longer known has none."""
        parcels = {}
        for name in self.request["names"]:
            try:
                with open(os.path.join(self.where.parcels, name + ".tokens")) as source:
                    parcels[name] = source.read().split()
            except OSError:
                parcels[name] = []
        return {"parcels": parcels}

    def run(self) -> Record:
        """Run the commands."""
        return {"answers": self._commands()}

    def cancel(self) -> Record:
        """Mark tokens as cancelled, end those that have not begun, and run the command that lists the others."""
        for token in self.request["tokens"]:
            try:
                if self.where.claim(token, VOID):
                    self.where.end(token, 0, "cancelled", began=None, at=time.time(), node="", batch_id="")
                else:
                    report.write(os.path.join(self.where.job(token), "cancelled"), b"")
            except OSError:
                continue  # unknown or cleaned
        return {"answers": self._commands()}

    def fetch(self) -> Record:
        """Return reports, and the tokens whose reports have to be asked for again."""
        reports, size, rest = {}, 0, []
        for token in self.request["tokens"]:
            if size > FETCH_BYTES:
                rest.append(token)
                continue
            try:
                with open(os.path.join(self.where.job(token), "report.json"), "rb") as source:
                    raw = source.read()
            except OSError:
                continue
            size += len(raw)
            reports[token] = raw.decode("utf-8", "replace")
        return {"reports": reports, "rest": rest}

    def watch(self) -> Record:
        """Return heartbeat and end of the log of those that run."""
        shown, tail = {}, int(self.request.get("tail") or 0)
        for token in self.request["tokens"]:
            if self.where.runner(token) not in (None, VOID) and not self.where.ended(token):
                shown[token] = glimpse(self.where.job(token), tail, HEARTBEAT, LOG)
        return {"shown": shown}

    def trim(self) -> Record:
        """Empty what ended attempts left of more than `most` bytes; return the bytes freed by token."""
        ended = [token for token in self.request["tokens"] if self.where.ended(token)]
        freed = {token: trim(self.where.job(token), int(self.request["most"])) for token in ended}
        return {"freed": {token: count for token, count in freed.items() if count}}

    def clean(self) -> Record:
        """Remove what ended attempts left, and what the agent knows to be over (`over`)."""
        over = set(self.request["over"])
        for token in self.request["tokens"]:
            parcel = self.where.parcel(token)
            if parcel is None or not (token in over or self.where.ended(token)):
                continue  # unknown, alive, or a mark that keeps a late submission out
            shutil.rmtree(self.where.job(token), ignore_errors=True)
            _unlink(os.path.join(self.where.ends, token))
            self._clean_parcel(parcel[0])
        return {}

    def _clean_parcel(self, name: str) -> None:
        """Remove the two files of a parcel when none of its tokens is left."""
        path = os.path.join(self.where.parcels, name)
        try:
            with open(path + ".tokens") as source:
                tokens = source.read().split()
        except OSError:
            return
        if not any(os.path.isdir(self.where.job(token)) for token in reversed(tokens)):
            for ending in (".sent", ".sh", ".log", ".tokens"):
                _unlink(path + ending)

    def _record(self, token: str, parcels: Dict[str, Record]) -> Record:
        """Return what the directory of a token says; `parcels` remembers those that were read."""
        found = self.where.parcel(token)
        record: Record = {"run": self.where.runner(token), "end": self.where.ended(token), "parcel": None, "sent": None}
        if found is None:
            return record
        name, index = found
        if name not in parcels:
            parcels[name] = read(os.path.join(self.where.parcels, name + ".sent")) or {}
        record.update(parcel=name, index=index, sent=parcels[name] or None)
        return record

    def _void_tokens(self, before: float) -> List[str]:
        found = []
        for shelf in os.listdir(self.where.jobs):
            with os.scandir(os.path.join(self.where.jobs, shelf)) as entries:
                old = [entry.name for entry in entries if entry.stat().st_mtime < before]
            found += [token for token in old if self.where.parcel(token) is None]
        return found

    def _commands(self) -> List[Record]:
        return [self._run(argv, "") for argv in self.request.get("commands", [])]

    def _run(self, argv: List[str], stdin: str) -> Record:
        """Run a command of the batch system; `late` when it had to be killed, which says nothing of what it did."""
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
                cwd="/",
                encoding="utf-8",  # whatever the account's locale is: names of other jobs may be anything
                errors="replace",
            )
        except OSError as fault:
            return {"code": 127, "out": "", "err": str(fault)}
        try:
            out, err = child.communicate(stdin, timeout=max(0.1, self.until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            return {"code": -9, "out": out, "err": "no end in time; " + err, "late": True}
        return {"code": child.returncode, "out": out, "err": err}


def ranges(numbers: List[int]) -> str:
    """Return ascending numbers as batch systems write them: "0-3,5"."""
    parts: List[List[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _fill(text: str, places: List[int]) -> str:
    """Put the places of an array into a command or its input."""
    return text.replace("{indices}", ranges(places)).replace("{places}", ",".join(map(str, places)))


def serve(root: str) -> int:
    """Answer the request on standard input."""
    request = json.load(sys.stdin.buffer)
    try:
        answer = Clerk(os.path.abspath(root), request).answer()
    except OSError as fault:  # the directory is full, or gone
        sys.stderr.write("{}\n".format(fault))
        return 1
    json.dump(answer, sys.stdout, separators=(",", ":"))
    return 0


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
