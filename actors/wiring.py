"""Which facts go from whom to whom: checked before anything starts, and drawn for the docs (PA-006).

Each stage declares beside each other what it `follows`, is `woken_by` and `emits`; nothing else knows who talks to whom.
    python -m actors.wiring > docs/reference/wiring.md
"""

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterable
from functools import partial

import actors
from actors.stage import Stage
from domain.events import OPTIONAL, Event
from supervisors import ChildSpec, SupervisorSpec

INTRODUCTION = """# Who takes which fact

Drawn by `python -m actors.wiring`; a test compares. Bold: it *follows* the fact, each once, in order, with a cursor. Italic: it is
*woken by* the fact, a hint to look at the rows. An agent whose actors write a fact that nobody takes does not start, unless
the fact is marked optional.

| fact | written by | taken by | |
|---|---|---|---|"""


class Unwired(Exception):
    """An actor writes a fact that nobody takes; the text names both."""


def check(tree: SupervisorSpec) -> None:
    """Raise Unwired for every fact that somebody of the tree writes, nobody takes and that is not optional."""
    kinds = {spec.name: kind for spec in tree.walk() if isinstance(spec, ChildSpec) and (kind := kind_of(spec))}
    taken = {fact for kind in kinds.values() for fact in (*kind.follows, *kind.woken_by)}
    lost: dict[str, list[str]] = defaultdict(list)
    for name, kind in kinds.items():
        for fact in kind.emits:
            if fact not in taken and fact not in OPTIONAL:
                lost[fact.__name__].append(name)
    if lost:
        raise Unwired(
            "\n".join(
                f"{fact}: written by {', '.join(names)}, taken by no actor of the tree; expected one that follows it or is "
                "woken by it, or its name in domain.events.OPTIONAL"
                for fact, names in sorted(lost.items())
            )
        )


def kind_of(spec: ChildSpec) -> type[Stage] | None:
    """Return the class that a child runs, None if its factory does not say."""
    made = spec.start.func if isinstance(spec.start, partial) else spec.start
    return made if isinstance(made, type) and issubclass(made, Stage) else None


def page(kinds: Iterable[type[Stage]]) -> str:
    """Return the reference page of these stages."""
    chosen = sorted(kinds, key=lambda kind: kind.__name__)
    lines = [INTRODUCTION]
    for fact in _facts(Event):
        writers = [kind.__name__ for kind in chosen if fact in kind.emits]
        takers = [f"**{kind.__name__}**" for kind in chosen if fact in kind.follows]
        takers += [f"*{kind.__name__}*" for kind in chosen if fact in kind.woken_by and fact not in kind.follows]
        optional = "optional" if fact in OPTIONAL else ""
        lines.append(f"| {fact.__name__} | {', '.join(writers) or '-'} | {', '.join(takers) or '-'} | {optional} |")
    return "\n".join(lines) + "\n"


def _facts(kind: type[Event]) -> Iterable[type[Event]]:
    """Yield the facts themselves, without the classes that only group them, in the order of a job's life."""
    for below in kind.__subclasses__():
        if below.__subclasses__():
            yield from _facts(below)
        else:
            yield below


def all_stages() -> list[type[Stage]]:
    """Return every stage of this package."""
    for module in pkgutil.iter_modules(actors.__path__):
        if not module.name.startswith("_") and module.name != "wiring":
            importlib.import_module(f"actors.{module.name}")
    return [kind for kind in Stage.__subclasses__() if kind.__module__.startswith("actors.")]


if __name__ == "__main__":
    print(page(all_stages()), end="")
