"""What can be chosen for a demonstration."""

from pathlib import Path
from typing import Literal

import msgspec


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`chaos`: break things on the way; `seed` of the moments at which that happens; `keep`: agent and ProdMgr go on
    running at the end until Ctrl-C, so that their pages can be looked at; `targets`: a file with tables of an agent's
    configuration, hosts and the targets of the sites alpha and beta, in place of this machine's own processes."""

    events: int = 20_000
    example: Literal["zmumu", "plain"] = "zmumu"
    directory: Path = Path("demo-run")
    chaos: bool = False
    seed: int | None = None
    keep: bool = False
    targets: Path | None = None


class DemoError(Exception):
    """The demonstration cannot go on; the text says why and where to look."""
