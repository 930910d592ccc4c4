"""The verb that shows the whole of it on one machine."""

from pathlib import Path
from typing import Annotated

import typer

from services.demo.options import DemoOptions
from services.demo.run import run_demo


def demo(
    events: Annotated[int, typer.Option(help="How many events are requested.")] = 20_000,
    example: Annotated[str, typer.Option(help="zmumu (Pythia 8, ROOT files) or plain (no physics).")] = "zmumu",
    directory: Annotated[Path, typer.Option(help="Where everything of the demonstration lies.")] = Path("demo-run"),
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill and break things on the way.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the moments at which things are broken.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Let everything run on at the end, to look at its pages.")
    ] = False,
    targets: Annotated[
        Path | None,
        typer.Option(help="TOML tables of hosts and of the targets of alpha and beta, in place of local processes."),
    ] = None,
) -> None:
    """From a request to delivered physics, on this machine: a ProdMgr, an agent, three sites, real jobs.

    Example: `run_agent.py demo --events 2000 --chaos`
    """
    if example not in ("zmumu", "plain"):
        raise typer.BadParameter(f"got {example!r}, expected zmumu or plain", param_hint="--example")
    options = DemoOptions(
        events=events,
        example="plain" if example == "plain" else "zmumu",
        directory=directory,
        chaos=chaos,
        seed=seed,
        keep=keep,
        targets=targets,
    )
    raise typer.Exit(run_demo(options))
