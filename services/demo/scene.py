"""What all parts of a running demonstration share."""

from collections.abc import Callable
from dataclasses import dataclass

from backends.prodmgr.http import HttpProdMgr
from domain.spec import WorkflowSpec
from services.demo.look import AdminLook, StoreLook
from services.demo.options import DemoOptions
from services.demo.place import Place
from services.demo.processes import Child


@dataclass
class Scene:
    """The programs that run, ways to look at them, and the request; `say` shows a line, `announce` one that
    is not to be missed; `restarting` while the agent is away on purpose."""

    options: DemoOptions
    place: Place
    spec: WorkflowSpec
    manager: Child
    agent: Child
    desk: HttpProdMgr
    request: int
    store: StoreLook
    admin: AdminLook
    say: Callable[[str], None]
    announce: Callable[[str], None]
    restarting: bool = False

    def check(self) -> None:
        """Raise DemoError if a program ended that should not have."""
        if not self.manager.alive:
            raise self.manager.failure()
        if not self.agent.alive and not self.restarting:
            raise self.agent.failure()
