"""An orderly stop goes through its phases, whatever becomes of each."""

import asyncio

import pytest

from supervisors import DRAIN, STOP_ACTORS, ActorSystem, AsyncioActor, ChildSpec, Phase, SupervisorSpec
from supervisors.testing import run_virtual


class Slow(AsyncioActor):
    async def on_receive(self, message):
        await asyncio.sleep(message)


def system_with(*phases):
    return ActorSystem(SupervisorSpec("root", (ChildSpec("slow", Slow),)), phases=phases)


def note(seen, text, seconds=0.0, error=None):
    async def run():
        seen.append(text)
        await asyncio.sleep(seconds)
        if error is not None:
            raise error

    return run


@pytest.mark.feature("REL-11")
def test_phases_of_the_program_come_where_they_say():
    async def main():
        seen = []
        system = system_with(
            Phase("close intake", note(seen, "intake"), before=DRAIN),
            Phase("flush", note(seen, "flush"), before=STOP_ACTORS),
            Phase("close", note(seen, "close")),
        )
        await system.start()
        system.ref("slow").tell(2.0)
        await asyncio.sleep(0)
        await system.stop()
        assert seen == ["intake", "flush", "close"]
        assert await system.finished() == "stopped"
        assert system.clock.monotonic() == pytest.approx(2.0, abs=0.05)

    run_virtual(main)


@pytest.mark.feature("REL-11")
def test_the_next_phase_begins_though_one_overruns_or_fails(caplog):
    async def main():
        seen = []
        system = system_with(
            Phase("hangs", note(seen, "hangs", 1000.0), seconds=3.0, before=DRAIN),
            Phase("breaks", note(seen, "breaks", error=OSError("disk full")), before=STOP_ACTORS),
            Phase("last", note(seen, "last")),
        )
        await system.start()
        await system.stop()
        assert seen == ["hangs", "breaks", "last"]
        assert system.clock.monotonic() == pytest.approx(3.0, abs=0.05)
        assert not any(cell.life for cell in system.cells())

    run_virtual(main)
    assert "the phase 'hangs' was not done in 3 s" in caplog.text
    assert "the phase 'breaks' failed" in caplog.text


@pytest.mark.feature("REL-11")
def test_a_second_stop_cuts_the_drain_short_and_keeps_the_flush():
    async def main():
        seen = []
        system = system_with(
            Phase("wait", note(seen, "wait", 50.0), seconds=None, before=DRAIN, skippable=True),
            Phase("flush", note(seen, "flush"), before=STOP_ACTORS),
        )
        await system.start()
        system.ref("slow").tell(4.0)
        first = asyncio.ensure_future(system.stop(drain=60.0))
        await asyncio.sleep(1.0)
        assert seen == ["wait"]
        await system.stop(drain=0)
        await first
        assert seen == ["wait", "flush"]
        assert system.clock.monotonic() == pytest.approx(4.0, abs=0.05)  # its handler ends in peace

    run_virtual(main)


def test_a_phase_in_no_place_is_refused():
    with pytest.raises(ValueError, match="got before='brain', expected one of 'stop timers', 'drain', 'stop actors'"):
        system_with(Phase("flush", note([], ""), before="brain"))
    with pytest.raises(ValueError, match="duplicate phase 'drain'"):
        system_with(Phase("drain", note([], "")))
