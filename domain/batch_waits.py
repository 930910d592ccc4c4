"""What a batch system's own word for a waiting job means: what would start the job, and whose move that is.

Words of Slurm (https://slurm.schedmd.com/job_reason_codes.html) and of HTCondor (HoldReason,
https://htcondor.readthedocs.io/en/latest/classad-attributes/job-classad-attributes.html). First match wins.
"""

import re
from typing import NamedTuple

from domain.held import NEVER

OPERATOR, TRACKER = "operator", "tracker"


class Wait(NamedTuple):
    """`said`: looked for in the batch system's word. `owner`: who looks or acts next."""

    said: re.Pattern[str]
    code: str
    unblocks: str
    owner: str = TRACKER


WAITS = (
    Wait(re.compile("JobHeld|via condor_hold"), "batch-held", "whoever holds it: a release there, or `kill`", OPERATOR),
    Wait(
        re.compile(f"^held |JobHold|launch failed|REQUEUE_HOLD|SPECIAL_EXIT|{NEVER}"),
        "batch-held",
        "the rule for that reason (`errors.held`), at one of the tracker's next looks",
    ),
    Wait(
        re.compile("Partition(Down|Inactive)|NodeDown|ReqNodeNotAvail|Maint|Reservation|FrontEndDown|DOWN, DRAINED"),
        "batch-down",
        "the site: partition and nodes in service again, or the end of a reservation; `site down` takes its jobs back",
    ),
    Wait(
        re.compile("PartitionConfig"),
        "batch-down",
        "the site: nodes in that partition that are as large as it asks for; or `workflow change`, to ask for less",
    ),
    Wait(
        re.compile(r"QOS|Assoc|Account|Max\w+Per|Licenses|JobArrayTaskLimit"),
        "batch-quota",
        "jobs of the same account that end there, or the site: a higher limit, a valid account",
    ),
    Wait(re.compile("BeginTime|Dependency"), "batch-queue", "the time or the job that its submission names"),
)
PLAIN = Wait(re.compile(""), "batch-queue", "a free slot of the batch system")


def waits(said: str) -> Wait:
    """Return what a reason means; one that nobody knows is taken for a full batch system."""
    return next((wait for wait in WAITS if wait.said.search(said)), PLAIN)
