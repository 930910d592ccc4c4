"""Grid Engine, by its commands: qsub, qstat, qacct, qdel. Written for and tested with Son of Grid Engine 8.1.9."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from backends.batch.base import BatchError, BatchState
from backends.batch.scheduled import ScheduledBatch
from backends.batch.scheduler import Limits, Listed, Parcel, Said, Sent, SiteSettings
from backends.channel.hosts import Hosts
from domain.exit_codes import WALL_TIME
from supervisors import Clock

Word = Annotated[str, Meta(pattern=r"^[^\s,]*$", description="one word")]

LETTERS = {
    "E": BatchState.HELD,
    "h": BatchState.HELD,
    "d": BatchState.RUNNING,
    "r": BatchState.RUNNING,
    "t": BatchState.RUNNING,
    "s": BatchState.RUNNING,
    "S": BatchState.RUNNING,
    "T": BatchState.RUNNING,
    "R": BatchState.PENDING,
    "q": BatchState.PENDING,
    "w": BatchState.PENDING,
}
"""The state of a job is a combination of these, and the first of them here that is in it counts:
https://gridscheduler.sourceforge.net/htmlman/htmlman1/qstat.html. With any other letter it is UNKNOWN."""

NAME = "pa."
"""Names of jobs begin with this, for they may not begin with a digit."""

WALL = 37
"""`failed` of a job that the qmaster ended at its h_rt (https://gridscheduler.sourceforge.net/htmlman/htmlman5/sge_status.html)."""

LATER = 25
"""Exit code of qsub when a limit on the number of jobs is reached: try it later (sge_conf(5), max_u_jobs and max_jobs)."""

SURE = (
    "rejected",
    "denied",
    "unknown resource",
    "no suitable queues",
    "invalid option argument",
    "is not a valid object name",
)
"""Complaints of a qsub that has handed nothing over; any other failure is a doubt."""

SUBMIT = 'IFS=,; for at in $0; do qsub -t "$((${at%-*} + 1))-$((${at#*-} + 1))" "$@" || exit; done'
"""Tasks are counted from 1, and one call takes one range of them."""

LIST = 'exec qstat -xml -g d -u "$(id -un)"'

RECALL = r"""
TZ=UTC LC_ALL=C qacct -d 30 -j "$0" 2>&1 | awk -v wanted=" $* " '
/^=+$/ { kept = 0 }
$1 == "hostname" { host = $0 }
$1 == "jobname" && index(wanted, " " $2 " ") { kept = 1; print "="; print host }
kept && /^(jobname|jobnumber|taskid|start_time|end_time|failed|exit_status) / || /^error|not found$/'
"""
RECORDED = {"hostname", "jobname", "jobnumber", "taskid", "start_time", "end_time", "failed", "exit_status"}
"""qacct knows no list of names: it tells all jobs of this target, and what nobody asked for stays at the site."""

CANCEL = 'qdel "$@" 2>&1 | grep -vE "registered|deleted|already in deletion|does not exist"; test $? = 1'
"""qdel complains of jobs that have ended meanwhile; only what else it says is a failure."""

RELEASE = 'qmod -cj "$@"; exec qrls "$@"'
"""A job is held by its error state, or by a hold; each command complains of the jobs of the other, qrls with code 0."""


class GridSettings(SiteSettings, frozen=True, kw_only=True):
    """A Grid Engine cell: `queue` and `project` as for qsub, empty: the cell's default. `parallel_environment` is one whose
    slots are cores of one node; without it a job has one core. `memory` is the resource that is asked for, per core;
    empty: none. `extra` are further options of qsub. SGE_ROOT and SGE_CELL go into `command_environment`."""

    queue: Word = ""
    project: Word = ""
    parallel_environment: Word = ""
    memory: Word = "mem_free"
    extra: tuple[str, ...] = ()


class GridEngineBatch(ScheduledBatch):
    """A batch target on Grid Engine."""

    def __init__(self, settings: GridSettings, *, hosts: Hosts, runtime: Path, clock: Clock) -> None:
        super().__init__(settings, GridEngine(settings), hosts=hosts, runtime=runtime, clock=clock)


class GridEngine:
    """What Grid Engine's commands are, and what they say."""

    slot_index = '"$((SGE_TASK_ID - 1))"'
    slot_id = '"$JOB_ID.$SGE_TASK_ID"'
    unset: tuple[str, ...] = ()

    def __init__(self, settings: GridSettings) -> None:
        self._settings = settings

    def probe(self) -> list[list[str]]:
        queue = [["qconf", "-sq", self._settings.queue]] if self._settings.queue else []
        return [["qconf", "-sconf"], ["qhost"], *queue]

    def learn(self, answers: Sequence[Said]) -> Limits:
        for said in answers:
            if said.code:
                known = "matches the phrase" not in said.text
                raise BatchError(f"Grid Engine cannot be used: {said.text}", transient=known)
        config, hosts, *queue = answers
        tasks = re.search(r"^max_aj_tasks\s+(\d+)", config.out, re.MULTILINE)
        asked = queue[0].out if queue else ""
        slots, walls = _values(asked, "slots"), [_seconds(value) for value in _values(asked, "h_rt")]
        title, *lines = [line.split() for line in hosts.out.splitlines() if not line.startswith("-")]
        place = title.index("MEMTOT")
        sizes = [size for line in lines if (size := _megabytes(line[place])) is not None]
        return Limits(
            cores=max(map(int, slots), default=None) if self._settings.parallel_environment else 1,
            memory_mb=max(sizes, default=None) if self._settings.memory else None,
            wall_s=max(wall for wall in walls if wall) if walls and all(walls) else None,
            array=int(tasks.group(1)) or None if tasks else None,
        )

    def submission(self, parcel: Parcel, script: str) -> tuple[list[str], str]:  # noqa: ARG002 -- the file is named
        job, has = parcel.jobs[0], self._settings
        needs = [f"h_rt={job.wall_s}"]
        if has.memory:
            needs.append(f"{has.memory}={-(-job.memory_mb // job.cores)}M")
        if job.avoid_nodes:
            needs.append(f"hostname=!({'|'.join(job.avoid_nodes)})")
        options = [
            *(("-q", has.queue) if has.queue else ()),
            *(("-P", has.project) if has.project else ()),
            *(("-pe", has.parallel_environment, str(job.cores)) if job.cores > 1 else ()),
            *has.extra,
        ]
        # -notify: SIGUSR2 comes a while before SIGKILL, so that the runtime can write its report
        fixed = ["-terse", "-r", "n", "-notify", "-wd", "/", "-o", "/dev/null", "-j", "y", "-b", "y", "-shell", "n"]
        named = ["-N", NAME + parcel.label, "-l", ",".join(needs)]
        return ["sh", "-c", SUBMIT, "{indices}", *fixed, *named, *options, parcel.script], ""

    def sent(self, said: Said) -> Sent:
        number = re.match(r"(\d+)\.", said.out)
        if said.code == 0 and number:
            return Sent(id=number.group(1))
        text = said.text or f"qsub ended with {said.code} and said nothing"
        if number or said.late:
            return Sent(reason=text, doubt=True)
        if said.code in (LATER, 127) or "Connection refused" in said.text:
            return Sent(reason=text, transient=True)
        return Sent(reason=text, doubt=not any(word in said.text for word in SURE))

    def task_id(self, sent_id: str, index: int, *, array: bool) -> str:  # noqa: ARG002 -- a job alone is an array of one
        return f"{sent_id}.{index + 1}"

    def listing(self) -> list[str]:
        return ["env", "TZ=UTC", "sh", "-c", LIST]

    def records(self, said: Said) -> Iterable[str]:
        if said.code or said.late or "</job_info>" not in said.out:
            raise BatchError(f"qstat does not list: {said.text}", transient=True)
        # without the priority, which grows while a job waits and would make each of them new
        steady = re.sub(r"<JAT_prio>.*?</JAT_prio>", "", said.out)
        return re.findall(r"<job_list .*?</job_list>", steady, re.DOTALL)

    def listed(self, record: str) -> Listed | None:
        fields = dict(re.findall(r"<(\w+)>([^<]*)</", record))
        name, task, word = fields.get("JB_name", ""), fields.get("tasks", ""), fields.get("state", "")
        if not name.startswith(NAME) or not task.isdigit():
            return None
        state = _state(word)
        began = fields.get("JAT_start_time")
        return Listed(
            name=name.removeprefix(NAME),
            index=int(task) - 1,
            id=f"{fields['JB_job_number']}.{task}",
            state=state,
            reason="" if state in (BatchState.PENDING, BatchState.RUNNING) else f"state {word}, see qstat -j",
            node=fields.get("queue_name", "").rpartition("@")[2],
            started_at=datetime.fromisoformat(began).replace(tzinfo=UTC).timestamp() if began else None,
        )

    def history(self, names: Sequence[str]) -> list[str] | None:
        ours = NAME + names[0].partition(".")[0] + ".*"
        return ["sh", "-c", RECALL, ours, *(NAME + name for name in names)]

    def recorded(self, said: Said) -> list[Listed]:
        complaint = re.search(r"^error.*(?<!not found)$|^sh: .*", said.out, re.MULTILINE)
        if said.code or said.late or complaint:
            raise BatchError(f"qacct does not answer: {said.text}", transient=True)
        return [listed for record in said.out.split("=\n")[1:] if (listed := _recorded(record)) is not None]

    def cancellation(self, ids: Sequence[str]) -> list[str]:
        return ["sh", "-c", CANCEL, "sh", *ids]

    def release(self, ids: Sequence[str]) -> list[str]:
        return ["sh", "-c", RELEASE, "sh", *ids]


def _state(word: str) -> BatchState:
    if not word or set(word) - LETTERS.keys():
        return BatchState.UNKNOWN
    return next(state for letter, state in LETTERS.items() if letter in word)


def _recorded(record: str) -> Listed | None:
    """Return what the accounting says; None for a try that was not begun, as one that went into the error state."""
    fields = {name: text.strip() for name, text in re.findall(r"^(\w+) +(.+)$", record, re.MULTILINE)}
    if fields.keys() != RECORDED or not (fields["end_time"][0].isalpha() and fields["taskid"].isdigit()):
        return None
    failed, status = int(fields["failed"].split()[0]), int(fields["exit_status"].split()[0])
    return Listed(
        name=fields["jobname"].removeprefix(NAME),
        index=int(fields["taskid"]) - 1,
        id=f"{fields['jobnumber']}.{fields['taskid']}",
        state=BatchState.ENDED,
        reason=f"failed {fields['failed']}" if failed else "",
        node=fields["hostname"],
        exit_code=WALL_TIME if failed == WALL else None if failed else status,
        signal=status - 128 if failed not in (0, WALL) and status > 128 else None,
        started_at=_time(fields["start_time"]),
        ended_at=_time(fields["end_time"]),
    )


def _time(text: str) -> float:
    return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC).timestamp()


def _values(config: str, name: str) -> list[str]:
    """Return the value of a queue and those for some of its hosts: "8,[@large=16]"."""
    found = re.search(rf"^{name}\s+(.*(?:\\\n.*)*)", config, re.MULTILINE)
    return re.findall(r"(?:^|=|,\s*)([^,=\[\]\s\\]+)(?=[,\]\s]|$)", found.group(1)) if found else []


def _seconds(text: str) -> int:
    """Return the seconds of [[hours:]minutes:]seconds, 0 for no limit."""
    parts = [int(part) for part in text.split(":")] if text.replace(":", "").isdigit() else []
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def _megabytes(text: str) -> int | None:
    size = re.fullmatch(r"([\d.]+)([KMGT])", text)
    return int(float(size.group(1)) * 1024.0 ** "KMGT".index(size.group(2)) / 1024) if size else None
