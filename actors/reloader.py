"""Reloader: reads the configuration anew while the agent runs, and lets what can change live act at once (OPS-03, PA-216).

The file is checked whole first; a wrong one changes nothing. Then one value of settings takes the place of the other. Most actors
read it at each look; those that keep something of it, and those of a target that changed, are replaced by their supervisors: their
start is their recovery. Targets, ProdMgrs and a feed that are new get their actors; targets that are gone leave when nothing is
left there, and are remembered in the store until then. What can change only with a restart is named and left as it is.
An operator may add sites to those of the file, change and drop them; these are kept in the store (PA-205).
Takes: Reload, PutSite, DropSite. Writes: SettingsChanged, targets that leave, alerts. Settings: all of them; events.sweep_s.
"""

import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from msgspec import structs

from actors.messages import DropSite, PutSite, Refused, Reload, Reloaded, SettingChange
from actors.opener import Opener
from actors.renewal import Renewal, renewal
from actors.stage import Stage
from actors.world import World
from config.faults import Faults, nearest
from config.live import live
from config.loader import Loaded
from config.secret import SecretError
from config.settings import Settings
from config.verbs import Change, compared
from domain import events as e
from storage import added_sites, alerts, configured, leaving, overrides
from storage.engine import Connection
from storage.leaving import Leaving
from storage.overrides import Override
from storage.store import Tx
from supervisors import ActorSystem, ChildSpec, SupervisorSpec

CODE, FILE, TREE = "reload", "configuration", "actors"
"""Code of the alerts, and their subjects: a file that will not do, actors that cannot be replaced."""
TOLD = 100
"""Most keys that one fact names."""
FEED, FEED_ALERTS = "feed", ("feed-stale", "feed-doubtful")
"""An actor that is there only if it is configured, and the codes of its alerts."""
Made = dict[tuple[str, str], Any]
"""Backends by the name of their place in the world and their own."""


class Reloader(Stage):
    emits = (e.SettingsChanged,)

    def __init__(self, world: World, opener: Opener, tree: Callable[[World], SupervisorSpec]) -> None:
        """`tree` says who belongs into the tree of a world."""
        super().__init__(world)
        self._opener = opener
        self._tree = tree
        self._told: dict[str, str] | None = None
        """Texts of the open alerts by subject; None: an earlier life may have left some."""

    async def on_command(self, message: Any) -> Any:
        if not isinstance(message, Reload | PutSite | DropSite):
            return await super().on_command(message)
        self.world.doing = "reads the file"
        try:
            return await self._reload(message, await self._added(message))
        except (Faults, SecretError) as error:
            if isinstance(message, Reload) and not message.dry_run:
                await self._tell(FILE, str(error))
            raise Refused(str(error)) from None
        finally:
            self.world.doing = ""

    async def _added(self, order: Reload | PutSite | DropSite) -> dict[str, Any]:
        """Return the tables of the sites beside those of the file, as the order wants them. Raises Refused."""
        added = await self.store.read(added_sites.tables)
        if isinstance(order, Reload):
            return added
        name, there = order.name, self._opener.loaded
        if name in there.settings.sites and name not in there.added:
            raise Refused(f"site {name!r} stands in {there.path}; expected to be changed there, then `reload`")
        if isinstance(order, PutSite):
            if name in added and not order.replace:
                raise Refused(f"site {name!r} is there already; expected a new name, or to replace it")
            return added | {name: order.table}
        if name not in added:
            near = nearest(name, added)
            raise Refused(f"no site {name!r} was added" + (f"; did you mean {near!r}?" if near else ""))
        site = there.settings.sites[name]
        if left := await self.store.read(lambda c: leaving.in_use(c, name, site)):
            raise Refused(
                f"site {name!r} is in use: {left}; expected it to be empty: `site drain-processing {name}` first"
            )
        return {other: table for other, table in added.items() if other != name}

    async def _reload(self, order: Reload | PutSite | DropSite, added: dict[str, Any]) -> Reloaded:
        file = self._opener.read(added)
        before = self._opener.loaded.settings
        said = await self.store.read(overrides.load)
        changes = [_change(each, said) for each in compared(before, file.settings)]
        wanted = live(self.world.settings, file.settings)
        gone = sorted(_targets(self.world.settings) - _targets(wanted))
        if order.dry_run:
            return Reloaded(changes=changes, leaving=gone, failed=[])
        leave = leaving.of(self.world.settings, gone, self.clock.time())
        loaded = structs.replace(file, settings=leaving.added(wanted, leave))
        plan = renewal(self.world.settings, loaded.settings)
        before_hosts = self._opener.know(loaded.settings.hosts)
        try:
            made = self._made(plan, loaded)
            await self.write(partial(_book, order=order, file=file, booked=_Booked(wanted, leave, changes)))
        except BaseException:
            await self._opener.forget(before_hosts)
            raise
        self._opener.loaded = structs.replace(file, settings=wanted)
        try:
            failed = await self._renew(plan, loaded, made)
        finally:
            await self._opener.part(before_hosts)
        await self._tell(FILE, "")
        for one in changes:
            self.log.info("%s%s", _line(one), " (waits for a restart)" if one.restart else "")
        return Reloaded(changes=changes, leaving=gone, failed=failed)

    def _made(self, plan: Renewal, loaded: Loaded) -> Made:
        """Make the backends that are new or have other keys. Raises ConfigError and SecretError, and nothing has changed then."""
        return (
            {("batches", name): self._opener.batch(loaded, name) for name in plan.batches}
            | {("storages", name): self._opener.storage(loaded, name) for name in plan.storages}
            | {("managers", name): self._opener.manager(loaded, name) for name in plan.managers}
        )

    # ------------------------------------------------------------ other settings
    async def _renew(self, plan: Renewal, loaded: Loaded, made: Made) -> list[str]:
        """Let other settings take the place of those in force; return what did not work, which is tried again."""
        for target in sorted(plan.targets):
            await self._take_out(target)
        unused = self._put_in_place(loaded, made)
        self.world.stale |= plan.actors
        if plan.log_level:
            logging.getLogger().setLevel(plan.log_level.upper())
        failed = await self._mend()
        for backend in unused:
            await backend.close()
        for stage in ("steward", "queue", "creator", "injector"):
            self.hint(stage)
        return failed

    def _put_in_place(self, loaded: Loaded, made: Made) -> list[Any]:
        """Change the world in one go; return the backends that are not in use any more."""
        world, unused = self.world, []
        world.stage_out = self._opener.stage_out(loaded)
        world.settings = loaded.settings
        there = {
            "batches": _targets(loaded.settings),
            "storages": set(loaded.settings.sites),
            "managers": {manager.name for manager in loaded.settings.prodmgr},
        }
        for kind, names in there.items():
            held = getattr(world, kind)
            fresh = {name: backend for (at, name), backend in made.items() if at == kind}
            unused += [held.pop(name) for name in [*held] if name in fresh or name not in names]
            held.update(fresh)
        return unused

    async def work(self) -> bool:
        if self._told is None:
            await self._tell(FILE, "")
        if self.system is None or self.system.root.ready:  # while a tree starts its groups take no orders
            await self._see_off()
            await self._mend()
        return False

    async def _see_off(self) -> None:
        """Let targets go that left the configuration and have nothing left to do."""
        back, gone = await self.store.read(self._empty)

        def let_go(tx: Tx) -> None:
            leaving.drop(tx, [*back, *gone])
            if gone:
                overrides.forget(tx, gone)
                told = [f"target {name}: nothing is left there, it is gone" for name in gone]
                tx.emit(e.SettingsChanged(ids=[1], who=self.name, changes=told))

        if back or gone:
            await self.write(let_go)
        file = self._opener.loaded
        settings = await self.store.read(lambda c: configured.beside(c, file.settings))
        if _targets(settings) != _targets(
            self.world.settings
        ):  # also if an earlier look came no further than the store
            plan = renewal(self.world.settings, settings)
            await self._renew(plan, structs.replace(file, settings=settings), {})

    def _empty(self, connection: Connection) -> tuple[list[str], list[str]]:
        """Return the targets on their way out that are configured again, and those at which nothing is left."""
        file = self._opener.loaded.settings
        known = leaving.load(connection)
        back = [one.target for one in known if one.target in _targets(file)]
        empty = [
            one.target
            for one in known
            if one.target not in back
            and not leaving.left(connection, one.target, one.site, last=one.site not in file.sites)
        ]
        return back, empty

    # ------------------------------------------------------------ the tree
    async def _mend(self) -> list[str]:
        """Bring the tree in line with the settings, which may be repeated at any time; return what did not work."""
        system = self.system
        if system is None:
            return []
        there = set(system.names())
        wanted = self._tree(self.world)
        specs = {spec.name: spec for spec in wanted.walk()}
        failed = []
        for group, child in _absent(wanted, there):
            failed += await self._try(child.name, system.add_child(group, child))
        for name in sorted(self.world.stale & there & specs.keys()):
            failed += await self._try(name, _replace(system, specs[name]))
        if FEED in there - specs.keys():
            failed += await self._try(FEED, self._end_feed(system))
        self.world.stale -= set(system.names()) - {text.partition(":")[0] for text in failed}
        await self._tell(TREE, "; ".join(failed))
        return failed

    async def _try(self, name: str, work: Coroutine[Any, Any, None]) -> list[str]:
        self.world.doing = f"{name} ends and begins anew" if name in self.world.stale else f"{name} begins"
        try:
            await work
        except Exception as error:
            self.log.exception("%s does not follow the configuration", name)
            return [f"{name}: {type(error).__name__}: {error}"]
        return []

    async def _end_feed(self, system: ActorSystem) -> None:
        """Nobody asks it any more: its words are forgotten by the steward, its alerts are closed here."""
        self.world.doing = f"{FEED} ends"
        await system.remove_child(FEED)
        for code in FEED_ALERTS:
            await self.write(partial(alerts.close_alert, code=code, subject=FEED))

    async def _take_out(self, target: str) -> None:
        if self.system is not None and f"tracker.{target}" in self.system.names():
            self.world.doing = f"target.{target} ends"
            await self.system.remove_child(f"target.{target}")
            for stage in ("submitter", "tracker"):
                self.world.unhear(f"{stage}.{target}")

    async def _tell(self, subject: str, text: str) -> None:
        """Keep an alert open while there is something to say."""
        told = self._told or {}
        if self._told is not None and told.get(subject, "") == text:
            return

        def tell(tx: Tx) -> None:
            if text:
                alerts.raise_alert(tx, "error", CODE, subject, text)
            else:
                alerts.close_alert(tx, CODE, subject)

        await self.write(tell)
        self._told = {**told, subject: text}


def _absent(tree: SupervisorSpec, there: set[str]) -> Iterator[tuple[str, ChildSpec | SupervisorSpec]]:
    """Return who belongs into the groups of a tree and is not there, each with its group."""
    for group in tree.children:
        for child in group.children if isinstance(group, SupervisorSpec) else ():
            below = [child] if isinstance(child, ChildSpec) else child.walk()
            if there.isdisjoint(spec.name for spec in below):
                yield group.name, child


async def _replace(system: ActorSystem, spec: ChildSpec | SupervisorSpec) -> None:
    """Let a fresh instance take over; one that is made with a part of the settings is made with the new one."""
    if isinstance(spec, ChildSpec) and spec.name.startswith("allocation."):
        await system.replace(spec.name, spec.start)
    else:
        await system.restart(spec.name)


class _Booked(NamedTuple):
    """What is in force from now on, who leaves, what changes."""

    wanted: Settings
    leave: list[Leaving]
    changes: list[SettingChange]


def _book(tx: Tx, order: Reload | PutSite | DropSite, file: Loaded, booked: _Booked) -> None:
    """Write down what changes and who leaves."""
    leaving.put(tx, booked.leave)
    configured.remember(tx, booked.wanted)
    if isinstance(order, PutSite):
        added_sites.put(tx, order.name, file.settings.sites[order.name], order.who, order.reason)
    added_sites.drop(tx, added_sites.load(tx.connection).keys() - file.added)
    acting = [_line(each) for each in booked.changes if not each.restart]
    later = [_line(each) for each in booked.changes if each.restart]
    if booked.changes:
        tx.emit(e.SettingsChanged(ids=[1], who=order.who, changes=acting[:TOLD], later=later[:TOLD]))


def _targets(settings: Settings) -> set[str]:
    return {name for site in settings.sites.values() for name in site.targets}


def _change(change: Change, said: Iterable[Override]) -> SettingChange:
    held = next((one.words for one in said if change.key.endswith(f".{one.key}")), "")
    return SettingChange(key=change.key, before=change.before, after=change.after, restart=change.restart, held=held)


def _line(change: SettingChange) -> str:
    held = f" ({change.held})" if change.held else ""
    return f"{change.key}: {change.before or 'not set'} -> {change.after or 'not set'}{held}"[:500]
