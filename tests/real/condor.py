"""An imitation of HTCondor's commands, from their manual pages: no daemons exist for Debian 12.

`Condor` puts condor_submit, condor_q, condor_history and condor_rm into a directory for PATH and runs a "schedd" that
starts jobs in slots. Imitated: submit descriptions on standard input with `queue VAR in (...)`, -terse, -json with
-attributes, the two constraints that are asked for, -name and -pool (only the right ones are answered), empty output for
an empty list, ids CLUSTER.PROC, JobStatus numbers, SIGTERM then SIGKILL on removal. Not imitated: everything else.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMANDS = ("condor_submit", "condor_q", "condor_history", "condor_rm")
SCHEDD, POOL = "schedd@site.example", "cm.example"


class Condor:
    """One imitated schedd with so many slots; `environment` is what its commands need."""

    def __init__(self, slots: int = 4) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="condor-"))
        self._slots = slots
        self._schedd: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "CONDOR_STATE": str(self.root)}

    def __enter__(self) -> "Condor":
        (self.root / "bin").mkdir()
        for name in COMMANDS:
            path = self.root / "bin" / name
            path.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {name} "$@"\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        with _state(self.root) as state:
            state.update(next=1, queue=[], history=[])
        argv = [sys.executable, str(Path(__file__).resolve()), "schedd", str(self._slots)]
        environment = {**os.environ, **self.environment}
        self._schedd = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._schedd is not None
        self._schedd.terminate()
        self._schedd.wait(10)
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def _state(root: Path) -> Iterator[dict[str, Any]]:
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = root / "state.json"
        state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        before = json.dumps(state)
        yield state
        if (after := json.dumps(state)) != before:
            path.with_suffix(".new").write_text(after)
            path.with_suffix(".new").replace(path)


def _fail(text: str) -> None:
    sys.stderr.write(f"ERROR: {text}\n")
    sys.exit(1)


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options with a value, and what stands alone; refuse a schedd that there is not."""
    options: dict[str, str] = {}
    alone = []
    rest = iter(words)
    for word in rest:
        if word in ("-name", "-pool", "-constraint", "-attributes", "-limit"):
            options[word] = next(rest)
        else:
            alone.append(word)
    if options.get("-name", SCHEDD) != SCHEDD or options.get("-pool", POOL) != POOL:
        _fail(f"Can't find address of schedd {options.get('-name')}")
    return options, alone


def submit(root: Path, words: list[str]) -> None:
    _, alone = _options(words)
    assert alone == ["-terse"], alone
    lines = sys.stdin.read().splitlines()
    said = dict(
        re.split(r"\s*=\s*", line, maxsplit=1) for line in lines if "=" in line and not line.startswith("queue")
    )
    found = re.fullmatch(r"queue (\w+) in \((.*)\)", lines[-1])
    if found is None or said.get("universe") != "vanilla":
        return _fail("on Line 1 of submit file: no queue statement")
    if int(said["request_cpus"]) > 64:
        return _fail("Invalid request_cpus")
    name, places = found.group(1), [place.strip() for place in found.group(2).split(",")]
    with _state(root) as state:
        cluster = state["next"]
        state["next"] += 1
        for process, place in enumerate(places):
            values = {name: place, "ClusterId": str(cluster), "ProcId": str(process)}
            arguments = said["arguments"].strip('"')
            for key, value in values.items():
                arguments = arguments.replace(f"$({key})", value)
            ad = {
                "ClusterId": cluster,
                "ProcId": process,
                "JobStatus": 1,
                "ProdAgentLabel": said["+ProdAgentLabel"].strip('"'),
                "ProdAgentPlace": int(place),
                "Cmd": said["executable"],
                "Args": arguments,
                "Owner": "someone",
                "NumJobStarts": 0,
            }
            state["queue"].append(ad)
    print(f"{cluster}.0 - {cluster}.{len(places) - 1}")
    return None


def _show(ads: list[dict[str, Any]], options: dict[str, str]) -> None:
    wanted = options["-attributes"].split(",")
    kept = [{key: ad[key] for key in wanted if key in ad} for ad in ads]
    if kept:
        print("[\n" + ",\n".join(json.dumps(ad, indent=2) for ad in kept) + "\n]")


def queue(root: Path, words: list[str]) -> None:
    options, alone = _options(words)
    assert alone == ["-json"], alone
    assert options.get("-constraint", "ProdAgentLabel isnt undefined") == "ProdAgentLabel isnt undefined"
    with _state(root) as state:
        _show(state["queue"], options)


def history(root: Path, words: list[str]) -> None:
    options, alone = _options(words)
    assert alone == ["-json"], alone
    found = re.fullmatch(r'stringListMember\(ProdAgentLabel, "(.*)"\)', options["-constraint"])
    assert found is not None
    labels = set(found.group(1).split(","))
    with _state(root) as state:
        ads = [ad for ad in reversed(state["history"]) if ad["ProdAgentLabel"] in labels]
    _show(ads[: int(options["-limit"])], options)


def remove(root: Path, words: list[str]) -> None:
    _, ids = _options(words)
    with _state(root) as state:
        known = {f"{ad['ClusterId']}.{ad['ProcId']}": ad for ad in state["queue"]}
        for identity in ids:
            if identity in known:
                known[identity]["Removed"] = True
                print(f"Job {identity} marked for removal")
            else:
                sys.stderr.write(f"Job {identity} not found\n")
    if not known.keys() & set(ids):
        sys.exit(1)


def schedd(root: Path, slots: int) -> None:
    """Start, reap and remove jobs until told to end."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    ends: dict[str, float] = {}
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    while going:
        with _state(root) as state:
            for ad in list(state["queue"]):
                _step(state, ad, running, ends, slots)
        time.sleep(0.03)
    for process in running.values():
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _step(
    state: dict[str, Any],
    ad: dict[str, Any],
    running: dict[str, subprocess.Popen[bytes]],
    ends: dict[str, float],
    slots: int,
) -> None:
    identity = f"{ad['ClusterId']}.{ad['ProcId']}"
    process = running.get(identity)
    if process is not None and process.poll() is not None:
        del running[identity]
        code = process.returncode
        ad.update(JobStatus=3 if ad.get("Removed") else 4, CompletionDate=int(time.time()))
        ad.update({"ExitBySignal": code < 0, "ExitSignal" if code < 0 else "ExitCode": abs(code)})
        ad["LastRemoteHost"] = ad.pop("RemoteHost", "")
    elif ad.get("Removed") and process is None:
        ad.update(JobStatus=3)
    elif ad.get("Removed") and process is not None:
        late = time.monotonic() > ends.setdefault(identity, time.monotonic() + 5)
        os.killpg(process.pid, signal.SIGKILL if late else signal.SIGTERM)
    elif ad["JobStatus"] == 1 and len(running) < slots:
        argv = [ad["Cmd"], *ad["Args"].split()]
        null = subprocess.DEVNULL
        running[identity] = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
        ad.update(JobStatus=2, JobStartDate=int(time.time()), NumJobStarts=1, RemoteHost="slot1@node7.example")
    if ad["JobStatus"] in (3, 4):
        state["queue"].remove(ad)
        state["history"].append(ad)


if __name__ == "__main__":
    place, what, words = Path(os.environ["CONDOR_STATE"]), sys.argv[1], sys.argv[2:]
    if what == "schedd":
        schedd(place, int(words[0]))
    else:
        {"condor_submit": submit, "condor_q": queue, "condor_history": history, "condor_rm": remove}[what](place, words)
