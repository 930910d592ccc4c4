"""Runs the demonstration from a request to delivered, verified files."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import randbelow

from rich.console import Console

from backends.prodmgr.base import ProdMgrError
from backends.prodmgr.http import HttpProdMgr
from domain.spec import WorkflowSpec
from services.demo import place as places
from services.demo.chaos import Chaos
from services.demo.look import AdminLook, StoreLook
from services.demo.options import DemoError, DemoOptions
from services.demo.place import CODE, DESTINATION, Place
from services.demo.processes import Child, call, end_jobs, end_leftovers
from services.demo.progress import Picture, lines
from services.demo.scene import Scene
from services.demo.screen import LiveScreen, PlainScreen, screen_for
from services.demo.summary import Check, books, outcome, show_checks, show_faults, show_files, show_run
from storage.errors import StoreError

TICK_S = 0.2
START_S = 30.0
STALL_S = 90.0
"""Nothing new on record for this long is a failure."""
WIDTH = 120
"""Columns of what is not shown on a terminal."""
AGENT = str(CODE / "run_agent.py")
PRODMGR = str(CODE / "run_prodmgr.py")


def run_demo(options: DemoOptions) -> int:
    """Run the demonstration; 0 = everything that it shows holds, 1 = something does not, 2 = it could not start,
    130 = interrupted."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    if options.events < 1:
        console.print(f"--events {options.events}: expected 1 or more")
        return 2
    place = Place(options.directory)
    try:
        place.check()
    except DemoError as error:
        console.print(str(error), markup=False)
        return 2
    try:
        return asyncio.run(_demo(options, place, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print(f"interrupted; everything is ended, what there is lies in {place.root}", markup=False)
        return 130
    except (DemoError, ProdMgrError, StoreError) as error:
        console.print(str(error), markup=False)
        console.print(f"logs: {' '.join(map(str, sorted(place.logs.glob('*.log'))))}", markup=False, soft_wrap=True)
        return 1


async def _demo(options: DemoOptions, place: Place, console: Console) -> int:
    _end_on(signal.SIGTERM)
    started = time.monotonic()
    end_leftovers(place)
    place.make()
    spec = places.write_workflow(place, options)
    chaos = Chaos(options.seed if options.seed is not None else randbelow(10**6)) if options.chaos else None
    console.print(f"[bold]{spec.name}[/]: {spec.events:,} events in {place.root}", highlight=False, soft_wrap=True)
    if chaos is not None:
        console.print(f"things will be broken on purpose; --seed {chaos.seed} breaks them at the same points again")
    screen = screen_for(console, f"ProdAgent demo: {spec.name}")
    async with contextlib.AsyncExitStack() as stack:
        scene = await _set_up(stack, options, place, spec, (console, screen))
        begun = time.monotonic()
        with screen:
            await _follow(scene, screen, chaos, begun)
        found = await outcome(scene, time.monotonic() - begun)
        show_run(console, scene, found)
        show_files(console, found)
        checks = books(found, spec.events)
        if chaos is not None:
            checks += await show_faults(console, scene, chaos.faults)
        checks += await _verified(scene)
        checks += await _drawn(scene)
        show_checks(console, checks)
        console.print(f"[bold]{time.monotonic() - started:.1f} s[/] in all", highlight=False)
        if options.keep:
            await _stay(console, scene)
    return 0 if all(check.holds for check in checks) else 1


def _end_on(number: signal.Signals) -> None:
    """Let a signal end the demonstration in order, as Ctrl-C does."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


# ------------------------------------------------------------ set up
async def _set_up(
    stack: contextlib.AsyncExitStack,
    options: DemoOptions,
    place: Place,
    spec: WorkflowSpec,
    shown: tuple[Console, PlainScreen | LiveScreen],
) -> Scene:
    """Start ProdMgr and agent, and make the request; the stack ends all of it."""
    console, screen = shown
    store_url = f"sqlite:///{place.manager_store}"
    for agent, scope, file in (("demo", "agent", place.agent_token), ("operator", "manager", place.manager_token)):
        token = ["token", "new", "--agent", agent, "--scope", scope, "--store", store_url, "--file", str(file)]
        await _must([sys.executable, PRODMGR, *token], place)
    command = [PRODMGR, "run", "--store", store_url, "--port", "0", "--port-file", str(place.manager_port)]
    manager = Child("the ProdMgr", [sys.executable, *command], place.log("prodmgr"))
    await stack.enter_async_context(_running(manager, place))
    url = f"http://127.0.0.1:{await _port(manager, place)}"
    console.print(f"a ProdMgr answers at {url}", highlight=False)
    places.write_config(place, manager_url=url, chaos=options.chaos, targets=options.targets)
    ask = ["request", "add", str(place.workflow), "--url", url, "--token-file", str(place.manager_token), "--json"]
    policy = ["--jobs", "5", "--complete-below", "0"]
    request = json.loads(await _must([sys.executable, PRODMGR, *ask, *policy], place))["id"]
    console.print(f"it has request {request}: {spec.events:,} events of {spec.dataset_name}", highlight=False)
    desk = HttpProdMgr(url, place.manager_token.read_text().strip())
    stack.push_async_callback(desk.close)
    agent_command = [sys.executable, AGENT, "run", "--config", str(place.config)]
    console.print("an agent starts to work on it", highlight=False)
    child = Child("the agent", agent_command, place.log("agent"))
    await stack.enter_async_context(_running(child, place))
    store = StoreLook(place.store)
    stack.push_async_callback(store.close)
    admin = AdminLook(place.announcement)
    return Scene(options, place, spec, manager, child, desk, request, store, admin, screen.say, screen.announce)


@contextlib.asynccontextmanager
async def _running(child: Child, place: Place) -> AsyncIterator[None]:
    """Start a program; at the end stop it, and with it what it has started."""
    await child.start()
    try:
        yield
    finally:
        await child.stop()
        end_jobs(place)


async def _must(command: list[str], place: Place) -> str:
    log = place.log("setup")
    code, said = await call(command, log)
    if code:
        raise DemoError(f"{' '.join(command[1:4])} ended with {code}; see {log}")
    return said


async def _port(manager: Child, place: Place) -> int:
    begun = time.monotonic()
    while not place.manager_port.exists():
        if not manager.alive or time.monotonic() - begun > START_S:
            raise manager.failure()
        await asyncio.sleep(0.05)
    return int(place.manager_port.read_text())


# ------------------------------------------------------------ the run
async def _follow(scene: Scene, screen: PlainScreen | LiveScreen, chaos: Chaos | None, begun: float) -> None:
    """Show the run and let the faults happen, until everything is delivered and nothing is left to do."""
    latest = time.monotonic()
    while True:
        scene.check()
        if news := await scene.store.news():
            latest = time.monotonic()
            for line in lines(logged.fact for logged in news):
                scene.say(line)
        picture = await _picture(scene, time.monotonic() - begun)
        screen.show(picture)
        if chaos is not None:
            await chaos.step(scene, picture.share)
        if _over(scene, picture) and (chaos is None or chaos.over or time.monotonic() - latest > START_S / 3):
            return
        if time.monotonic() - latest > STALL_S:
            raise DemoError(f"nothing new on record for {STALL_S:.0f} s: {picture.totals}")
        await asyncio.sleep(TICK_S)


async def _picture(scene: Scene, seconds: float) -> Picture:
    request = await scene.desk.request(scene.request)
    if request.state.value == "failed" or request.ledger.lost:
        raise DemoError(f"the ProdMgr says: {request.state.value}, {request.ledger.lost} events lost {request.reason}")
    restarts = scene.agent.starts - 1
    page = f", page {scene.admin.url}/" if scene.admin.url else ""
    return Picture(
        seconds=seconds,
        requested=scene.spec.events,
        totals=await scene.store.totals(),
        request=f"{request.state.value}, {request.ledger.merged:,} of {request.ledger.requested:,} events reported",
        agent=f"pid {scene.agent.pid}, restarted {restarts} time{'' if restarts == 1 else 's'}{page}",
    )


def _over(scene: Scene, picture: Picture) -> bool:
    """Whether the request is complete and the small files are gone."""
    left = set(picture.totals.files) - {"catalogued", "removed"}
    return picture.request.startswith("complete") and picture.totals.delivered >= scene.spec.events and not left


# ------------------------------------------------------------ the proof
async def _verified(scene: Scene) -> list[Check]:
    """Let the agent prove its books, and read the delivered files ourselves."""
    log = scene.place.log("verify")
    command = [sys.executable, AGENT, "verify", "--config", str(scene.place.config), "--deep"]
    code, said = await call(command, log)
    checks = [Check(name="verify", holds=code == 0, text=_verdict(said, log))]
    script = CODE / "examples" / scene.options.example / "check.py"
    arguments = ["--events", str(scene.spec.events), str(scene.place.storage(DESTINATION))]
    code, said = await call([sys.executable, str(script), *arguments], log)
    return [*checks, Check(name="delivered files", holds=code == 0, text=_verdict(said, log))]


def _verdict(said: str, log: Path) -> str:
    """Return the line that says it all, or the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "exactly once" in line), lines[-1] if lines else f"see {log}")


async def _drawn(scene: Scene) -> list[Check]:
    """Draw the picture from the delivered files, where the example has one."""
    script = CODE / "examples" / scene.options.example / "plot.py"
    if not script.exists():
        return []
    picture = scene.place.root / f"{scene.options.example}.png"
    command = [sys.executable, str(script), str(scene.place.storage(DESTINATION)), "--output", str(picture)]
    code, said = await call(command, scene.place.log("plot"))
    text = "; ".join(said.strip().splitlines()) or f"see {scene.place.log('plot')}"
    return [Check(name="picture", holds=code == 0 and picture.exists(), text=text)]


async def _stay(console: Console, scene: Scene) -> None:
    console.print(f"the agent stays until Ctrl-C: {scene.admin.url}/", highlight=False)
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            scene.check()
            await asyncio.sleep(1.0)
