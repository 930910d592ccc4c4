"""The operator's verbs, each by name with the place where it stands; it is imported when it is called."""

from functools import partial
from importlib import import_module
from typing import NamedTuple

import typer

from services.console.later import Found, add


class Verb(NamedTuple):
    """A command or a group of commands: `place` is module:name below services.console, `text` its first sentence."""

    place: str
    text: str


VERBS: dict[str, Verb] = {
    "verify": Verb(
        "verifying:verify",
        "Prove that every event is there exactly once: all laws from the books, then the files themselves.",
    ),
    "demo": Verb(
        "demonstrating:demo",
        "From a request to delivered physics, on this machine: a ProdMgr, an agent, three sites, real jobs.",
    ),
    "status": Verb(
        "reading:status",
        "Show everything at a glance: workflows with their events, jobs by state at each site, what fails, alerts.",
    ),
    "jobs": Verb("reading:jobs", "List jobs, newest first."),
    "job": Verb("reading:job", "Show one job: its attempts with causes and logs, files and history."),
    "logs": Verb(
        "tailing:logs", "Show the end of a job's log: from its node while it runs, what was kept of it once it failed."
    ),
    "archive": Verb(
        "archives:archive",
        "Show what is kept of a job's attempts, or unpack one: specification and report, to be looked at or run again by hand.",
    ),
    "why": Verb(
        "reading:why",
        "Say what something waits for: the blocker, since when, what would unblock it, who owns it, and the next look.",
    ),
    "files": Verb(
        "reading:files", "List files, newest first, or show one: where it is, what it was merged into, its transfers."
    ),
    "alerts": Verb("reading:alerts", "List what a person should know, newest first."),
    "sites": Verb(
        "sites:sites",
        "Show who may run where: modes, breakers with their evidence, records, limits and loads of all targets.",
    ),
    "site": Verb("sites:site", "Change how sites are used; what runs there goes on in any case."),
    "site-add": Verb(
        "adding:site_add",
        "Add a site to those of the configuration file while the agent runs, or change one that was added.",
    ),
    "site-drop": Verb(
        "adding:site_drop",
        "Take out a site that was added; refused while jobs, outputs or transfers of it are under way.",
    ),
    "site-show": Verb(
        "adding:site_show", "Show how a site is configured, and who added it if it stands not in the file."
    ),
    "limit": Verb("limiting:limit", "Set a limit of a target at once, in place of the one in the configuration."),
    "limits": Verb(
        "limiting:limits",
        "List the limits that were set in place of those of the configuration: by whom, when and why.",
    ),
    "confirm-feed": Verb(
        "sites:confirm_feed",
        "Believe the feed that takes more than half of the sites down at once; until then what it said before holds.",
    ),
    "actors": Verb("actors:actors", "Show the supervision tree, show one actor with its last failure, or act on it."),
    "submit": Verb("acting:submit", "Hand a workflow to the running agent. The same one again changes nothing."),
    "retry": Verb("acting:retry", "Reopen jobs that were given up or are held, or end their back-off now."),
    "kill": Verb("acting:kill", "End jobs for good; their events count as lost."),
    "ending": Verb(
        "acting:ending",
        "List what was killed, withdrawn or given up and its target has not confirmed yet; the tracker asks until it has.",
    ),
    "hold": Verb("holding:hold", "Give no more jobs out of something, or to something; those at work go on."),
    "release": Verb(
        "holding:release",
        "Let something held go on: a job in the state that it had, all others with their jobs where they are.",
    ),
    "holds": Verb(
        "holding:holds", "List what is held, drained, down, in test or trusted: by whom, why and until when."
    ),
    "restrict": Verb("restricting:restrict", "Say where single jobs may run, beside the lists of their workflow."),
    "workflow": Verb("revising:app", "Change workflows while they run."),
    "reload": Verb(
        "reloading:reload",
        "Let the running agent read its configuration anew: what can change while it runs acts at once, the rest is named.",
    ),
    "drain": Verb(
        "draining:drain",
        "Begin no new work and submit no more jobs; what runs goes on to its end. Holds over restarts, until --resume.",
    ),
    "abandon": Verb(
        "abandoning:abandon", "Give up every job that a target holds, to try them elsewhere; the agent must not run."
    ),
    "page": Verb("acting:page", "Print the address of the agent's page, with the token that lets its buttons act."),
    "dlq": Verb(
        "dead_letters:app",
        "Dead letters: facts that an actor could not handle (`7`), and messages that killed or missed theirs (`m7`).",
    ),
    "msg": Verb("messages:app", "The event log: everything that happened, and who reads it."),
    "errors": Verb("failures:app", "Failed attempts: what fails most, and what follows from it."),
    "nodes": Verb("nodes:app", "Nodes that get no jobs, because they fail them fast or because you say so."),
    "transfers": Verb(
        "transfers:app",
        "Transfers of merged files: parked ones failed too often, quarantined ones found another file under their name.",
    ),
    "db": Verb("database:app", "The store: snapshots, restore, copies, checks."),
    "config": Verb("configuring:app", "Check, explain, write and compare configurations."),
}


def build(app: typer.Typer) -> None:
    """Add every verb to the program."""
    for name, verb in VERBS.items():
        add(app, name, verb.text, partial(find, verb))


def find(verb: Verb) -> Found:
    """Import what a verb runs."""
    module, _, name = verb.place.partition(":")
    found: Found = getattr(import_module(f"services.console.{module}"), name)
    return found
