"""One history: lives of the agent one after the other in one world, until the work is done or the time is over."""

from collections.abc import Callable

import msgspec

from domain.spans import seconds
from services.simulation.agenda import Agenda, Fate, plan
from services.simulation.database import STORE, Disk, SimulatedDatabase
from services.simulation.judge import LawBroken, check_laws, final, limits
from services.simulation.life import Build, End, Life
from services.simulation.measures import Measures
from services.simulation.outside import Outside
from services.simulation.scenario import Scenario
from services.simulation.settings import agent_settings
from services.simulation.verdict import Verdict, judge
from storage import views
from storage.settled import digest, unsettled
from supervisors.virtual_loop import DeadlockError

MOST_LIVES = 100_000
LOOKS = 400
"""How often the course of a history is noted for its plot."""


class Kill(msgspec.Struct, frozen=True):
    """Kill the agent after so many steps of its n-th life (counted from 0)."""

    life: int
    after: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a history. Times are simulated seconds; `steps` are those of all lives, `wrong` is empty when all holds."""

    scenario: str
    seed: int
    done: bool
    seconds: float
    lives: int
    kills: int
    steps: int
    first_steps: int
    digest: str
    wrong: list[str]
    verdict: Verdict
    totals: views.Totals
    measures: Measures


class History:
    """Made for one `run`; everything that happens in it follows from scenario, seed and kills."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        build: Build,
        disk: Disk,
        *,
        kills: tuple[Kill, ...] = (),
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.scenario = scenario
        self.outside = Outside(scenario, seed)
        self.measures = Measures.of(scenario)
        self._settings = agent_settings(scenario, disk.directory)
        self._build = build
        self._disk = disk
        self._kills = {kill.life: kill.after for kill in kills}
        self._progress = progress
        self._allowed = limits(scenario)
        self._agenda = Agenda()
        self._life: Life | None = None
        self._now = 0.0
        self._off_until = 0.0
        self._done = False
        self._wrong: list[str] = []
        disk.format()
        plan(self.outside, self._agenda, Fate(self._strike, self._switch_off))
        self._note(0.0)
        self._agenda.put(scenario.duration_s, self._end_life)

    def run(self) -> Outcome:
        """Live through it all and judge it."""
        steps: list[int] = []
        kills = 0
        self.outside.truth.look = lambda: self._now
        try:
            while not self._done and self._now < self.scenario.duration_s and len(steps) < MOST_LIVES:
                life = self._life = Life(self.outside, self._settings, self._disk, self._build, len(steps))
                end = life.run(self._now, self._kills.get(life.number), self._prepare)
                steps.append(life.steps)
                if end is End.FAILED and STORE not in self.outside.away:
                    raise LawBroken(f"the agent ended by itself: {life.reason}")
                kills += end is End.KILLED
                self._life = None
                self._pass_time(self.outside.truth.monotonic(), restart=end is not End.OVER)
                if end is not End.OVER and self.scenario.proof != "end":
                    self._prove()
        except (LawBroken, DeadlockError) as broken:
            self._wrong.append(f"at {self.outside.truth.monotonic():.1f} s, life {len(steps)}: {broken}")
        return self._outcome(steps, kills)

    # in a life

    def _prepare(self, life: Life) -> None:
        """Hang the agenda, the proof and the look for the end into the loop of a life."""
        if self.scenario.proof == "commit":
            life.on_commit = lambda: check_laws(life.database, self.outside, self._allowed)
        self._wait_for_agenda(life)
        self._look_for_end(life)

    def _wait_for_agenda(self, life: Life) -> None:
        assert life.loop is not None
        if self._agenda.next < float("inf"):
            life.loop.call_at(self._agenda.next, self._happen, life)

    def _happen(self, life: Life) -> None:
        assert life.loop is not None
        self._agenda.happen(life.loop.time())
        self._wait_for_agenda(life)

    def _look_for_end(self, life: Life) -> None:
        assert life.loop is not None
        if life.system is not None and self._nothing_left(life):
            self._done = True
            life.end()
        else:
            life.loop.call_later(seconds(self.scenario.poll), self._look_for_end, life)

    def _nothing_left(self, life: Life) -> bool:
        if not self.outside.all_closed:
            return False
        return not life.database.ask(unsettled)

    # what the agenda does

    def _strike(self) -> None:
        if self._life is not None and self._life.loop is not None:
            self._life.loop.kill()

    def _switch_off(self, until: float) -> None:
        self._off_until = max(self._off_until, until)
        self._strike()

    def _end_life(self) -> None:
        if self._life is not None:
            self._life.end()

    def _note(self, at: float) -> None:
        self.measures.note(at, self.outside)
        if self._progress is not None:
            self._progress(at)
        later = at + self.scenario.duration_s / LOOKS
        if later <= self.scenario.duration_s:
            self._agenda.put(later, lambda: self._note(later))

    # between lives

    def _pass_time(self, now: float, *, restart: bool) -> None:
        """Let the world go on while no agent lives, until one is started again."""
        self._now = now
        self.outside.truth.look = lambda: self._now
        until = now + seconds(self.scenario.restart) if restart else now
        while self._agenda.next <= max(until, self._off_until):
            self._now = max(now, self._agenda.next)
            self._agenda.happen(self._now)
        self._now = max(until, self._off_until)

    def _prove(self) -> None:
        database = SimulatedDatabase(self._disk, self.outside)
        self._with(database, lambda: check_laws(database, self.outside, self._allowed))

    def _with(self, database: SimulatedDatabase, act: Callable[[], None]) -> None:
        database.connect()
        try:
            act()
        finally:
            database.drop()

    def _outcome(self, steps: list[int], kills: int) -> Outcome:
        database = SimulatedDatabase(self._disk, self.outside)
        found: dict[str, object] = {}

        def look() -> None:
            now = self.outside.clock.time()
            if not self._wrong:
                self._wrong += final(database, self.outside, self._allowed, done=self._done)
            found["verdict"] = judge(self.outside, database, now)
            found["totals"] = database.ask(lambda c: views.totals(c, now))
            found["digest"] = database.ask(digest)
            self.measures.close(self._now, self.outside, database)

        self._with(database, look)
        return Outcome(
            scenario=self.scenario.name,
            seed=self.outside.seed,
            done=self._done,
            seconds=self._now,
            lives=len(steps),
            kills=kills,
            steps=sum(steps),
            first_steps=steps[0] if steps else 0,
            wrong=self._wrong,
            measures=self.measures,
            **found,  # type: ignore[arg-type]
        )
