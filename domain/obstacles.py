"""What stands before any other blocker: an actor that does not run, no agent at all, a fact that a handler failed on."""

from domain.explain import Verdict, person


def owner_away(verdict: Verdict, actor: str, state: str, error: str = "") -> Verdict:
    """Return the verdict when the actor that owns the next step does not run: then that is the blocker."""
    text = f"{actor} is {state}" + (f" ({error})" if error else "") + f"; behind it: {verdict.text}"
    act = f"`actors {actor} --resume`" if state == "paused" else f"`actors {actor} --restart`"
    return person(f"actor-{state}", text, act)


def agent_away(verdict: Verdict, why: str) -> Verdict:
    """Return the verdict when no agent runs on the store: nothing moves without one."""
    if verdict.done:
        return verdict
    text = f"{why}; behind it: {verdict.text}"
    return person("no-agent", text, "`run_agent.py run`")


def fact_parked(verdict: Verdict, subscriber: str, event: str, error: str, next_at: float | None) -> Verdict:
    """Return the verdict when a fact about the item is parked: a handler failed on it."""
    text = f"{subscriber} failed on {event}: {error}; behind it: {verdict.text}"
    if next_at is None:
        return person("dead-letter", text, "`dlq replay`, once repaired")
    return Verdict(code="fact-parked", text=text, unblocks="the next try", owner=subscriber, wake_at=next_at)
