"""Write the reference page of the exit codes from the table of rules.

`python -m domain.rules_page > docs/reference/exit-codes.md`
"""

import sys
from collections.abc import Iterator

from domain.held import BUILT_IN as HELD
from domain.retry import ALLOWANCE
from domain.rules import BUILT_IN, UNKNOWN, Rule

HEAD = """\
# Exit codes of jobs, and what follows from them

The exit code of a job stands in its [report](job-report.md). The numbers are those that CMS documented for its framework
job reports; 90001 and above are this product's own. The first row that holds decides what a failure means, whom it blames
and what follows. [Rules of your own](../how-to/write-an-error-rule.md) stand before these. This page is made from
`domain/rules.py` and `domain/held.py`.

| code | batch system says | meaning | blame | uses the allowance | follows |
|---|---|---|---|---|---|
"""

TAIL = """
Any other code is `unknown exit code`: it counts as the payload's, and an alert names it.

* **Blame** decides which allowance an attempt uses (`[retry]` of a workflow): the payload's, the site's or that of the
  infrastructure. Our own faults and what is nobody's fault use none.
* **Follows**: `retry` after the back-off; `wait`: only time mends it, so the next attempt comes after half of `retry.cap_s` at the
  earliest; `more-memory` and `more-time`: again with `errors.more_percent` more of it, up to the cap, and then a person decides;
  `elsewhere`: at once at another target that takes its type and has not refused it as often; when there is none, the job is
  paused with the refusal as its reason; `fail`: never repeated; `pause`: a person decides; `accept`: the output is good all
  the same.
* **Refused** (90007): nothing of such an attempt ever ran. It is tried again as often as the site's allowance says, counted apart
  from other faults of the site, and then paused with the batch system's words: mend what they name, then `retry`.
* What a **site or node** is to blame for goes at once to another site that may run the job and has not failed it yet.
* A payload that a signal killed has 128 plus the number of the signal, as in a shell.
* The **runtime process** exits with the code itself up to 255, and with 1 for a larger one. What counts is the report.
* **No report** is written when the runtime itself is killed (`kill -9`, out of memory) or its machine stops. The batch
  system then says how the process ended, and the agent gives the attempt 50700 or 90004.
* **Limits** (50660, 50662, 50664): the payload's processes get SIGUSR2 at the limit of wall time, memory or disk, and
  SIGKILL after `limits.grace_s` seconds (300), at once for memory or disk above 1.1 times its limit. A payload that catches
  SIGUSR2, writes its output and exits with 0 has succeeded. 50660 is also what the kernel killed because the control group that
  the batch system has put it in has no memory left.
* **No room** (90013): stage-out failed because the storage element is full or a quota is used up; waited for through about 8 to
  20 hours with the defaults.
* **Cancelled** (90009) is what the runtime reports when an operator's or the agent's command ends a running job; a job
  that was still waiting ends without a report.

## Jobs that the batch system holds

The first row whose expression is found in the batch system's reason decides. A job that was released `errors.releases` times
goes to another site instead. A reason that no row knows is listed in an alert.

| reason | follows |
|---|---|
"""


def render() -> str:
    """The whole page as Markdown."""
    held = "".join(f"| `{_cell(rule.said)}` | {rule.action} |\n" for rule in HELD)
    return HEAD + "".join(_rows()) + TAIL + held


def _rows() -> Iterator[str]:
    for rule in BUILT_IN:
        uses = ALLOWANCE.get(rule.blame, "none")
        cells = (_codes(rule), _cell(rule.said or rule.text), rule.name, rule.blame, uses, rule.action)
        yield f"| {' | '.join(cells)} |\n"
    yield f"| any other | | {UNKNOWN.name} | {UNKNOWN.blame} | {ALLOWANCE[UNKNOWN.blame]} | {UNKNOWN.action} |\n"


def _codes(rule: Rule) -> str:
    return rule.codes.replace("-", "–") or ", ".join(f"{128 + signal}" for signal in rule.signals)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
