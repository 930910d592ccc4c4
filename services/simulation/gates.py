"""Between the agent and the world: calls take time, fail to arrive, lose their answers; a dead agent's do nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

from domain.spans import seconds
from services.simulation.outside import Outside

T = TypeVar("T")


class Line:
    """The way to one service and back, for one life of the agent."""

    def __init__(self, name: str, outside: Outside, chance: Random, error: Callable[[str], Exception]) -> None:
        self._name = name
        self._outside = outside
        self._chance = chance
        self._error = error
        network = outside.scenario.network
        self._mean = seconds(network.answer)
        self._broken, self._unanswered = network.broken, network.unanswered

    async def carry(self, effect: Callable[[], Awaitable[T]]) -> T:
        """Bring a call there, let it take effect, bring the answer back; a life may end at each of the three.

        Raises the service's own transient error when the call does not arrive, or its answer does not come back.
        """
        await self._way()
        self._look(self._broken, "the call does not arrive")
        answer = await effect()
        await self._way()
        self._look(self._unanswered, "no answer comes back")
        return answer

    async def _way(self) -> None:
        slow = self._outside.takes.get(self._name, 0.0)
        await asyncio.sleep(slow / 2 + self._mean * self._chance.random())

    def _look(self, share: float, why: str) -> None:
        if self._name in self._outside.away:
            raise self._error(f"{self._name} does not answer (simulated)")
        if share and self._chance.random() < share:
            raise self._error(f"{self._name}: {why} (simulated)")


class Gate:
    """Has every method of what is behind it; those that are awaited take the line, the others answer at once."""

    def __init__(self, inner: object, line: Line) -> None:
        self._inner = inner
        self._line = line

    def __getattr__(self, name: str) -> Any:
        behind = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(behind):
            return behind

        async def call(*given: Any, **named: Any) -> Any:
            return await self._line.carry(lambda: behind(*given, **named))

        return call
