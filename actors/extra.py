"""Actor types that others bring: found by "module:Class", judged before anything starts (the [actors.NAME] tables)."""

import importlib.metadata
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import msgspec

from actors.stage import Stage
from actors.world import World
from config.faults import Faults, convert_collecting
from config.settings import ExtraActor, Settings
from supervisors import ActorSystem, ChildSpec

GROUPS = ("watch", "intake", "targets", "outcome", "data", "agent")
"""The supervisor groups that an actor may be put under."""


class MakeChild(Protocol):
    def __call__(
        self, name: str, start: Callable[[], Stage], *, essential: bool = True, deadline: float | None = None
    ) -> ChildSpec: ...


class WrongActor(Exception):
    """An actor type of the configuration cannot be used; the text says why and what was expected."""


def extra_children(world: World, group: str, child: MakeChild) -> Iterator[ChildSpec]:
    """Yield the children that the configuration puts under `group`. Raises WrongActor."""
    for name, wanted in world.settings.actors.items():
        if wanted.under not in GROUPS:
            raise WrongActor(f"actors.{name}.under: got {wanted.under!r}, expected one of {', '.join(GROUPS)}")
        if wanted.under == group:
            start = _starter(world, name, wanted)
            yield child(name, start, essential=wanted.essential)


def participants(settings: Settings) -> tuple[str, ...]:
    """Return the actors of the configuration for which job directories are kept. Raises WrongActor."""
    kinds = {name: _find(name, wanted.type) for name, wanted in settings.actors.items()}
    return tuple(sorted(name for name, kind in kinds.items() if getattr(kind, "keeps_directories", False)))


def _starter(world: World, name: str, wanted: ExtraActor) -> Callable[[], Stage]:
    kind = _find(name, wanted.type)
    settings = _settings(name, kind, wanted.settings)
    return partial(kind, world) if settings is None else partial(kind, world, settings)


def _find(name: str, path: str) -> Callable[..., Stage]:
    module, _, attribute = path.partition(":")
    try:
        found: Any = importlib.metadata.EntryPoint(name, path, "prodagent.actor").load()
    except (ImportError, AttributeError) as error:
        raise WrongActor(f"actors.{name}.type: {path!r} cannot be loaded ({error}); expected module:Class") from error
    if not (isinstance(found, type) and issubclass(found, Stage)):
        raise WrongActor(
            f"actors.{name}.type: {attribute} of {module} is no actor; expected a subclass of actors.stage.Stage"
        )
    return found


def successor(system: ActorSystem, name: str, path: str) -> Callable[[], Stage]:
    """Return what makes the class at `path` in the place of an actor: it is given what the present instance was given.

    Raises WrongActor.
    """
    kind, present = _find(name, path), system.instance(name)
    if not isinstance(present, Stage):
        raise WrongActor(f"{name}: no stage runs there now, {path} can take over a running one only")
    return lambda: kind(*present.given)


def _settings(name: str, kind: Any, given: dict[str, Any]) -> msgspec.Struct | None:
    """Return the actor's own settings as the struct that its class names in `Settings`, None if it has none."""
    struct = getattr(kind, "Settings", None)
    if struct is None:
        if given:
            raise WrongActor(f"actors.{name}.settings: {', '.join(sorted(given))} given, this actor takes none")
        return None
    value, faults = convert_collecting(given, struct, f"actors.{name}", at=f"actors.{name}.settings")
    if faults:
        raise WrongActor(str(Faults(faults)))
    checked: msgspec.Struct = value
    return checked
