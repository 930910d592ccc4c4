"""Facts to be published later: delayed over restarts, once per key, in the order of their moments."""

import pytest

from domain.events import Published
from storage import later, log
from storage.store import Store


async def topics(store):
    return [fact.fact.topic for fact in await store.read(lambda c: log.after(c, 0, [Published], 100))]


async def put_off(store, topic, delay_s, key=""):
    return await store.write(lambda tx: later.publish(tx, topic, {"n": 1}, delay_s=delay_s, unique_key=key))


@pytest.mark.feature("PA-010")
async def test_a_delay_is_absolute_and_survives_a_restart(url, clock):
    store = await Store.open(url, clock=clock)
    await put_off(store, "second", 20.0)
    await put_off(store, "first", 10.0)
    assert await store.read(later.next_at) == clock.time() + 10.0
    clock.wind(9.0)
    assert await store.write(later.deliver) == 0
    await store.close()
    store = await Store.open(url, clock=clock)
    clock.wind(1.0)
    assert await store.write(later.deliver) == 1
    clock.wind(10.0)
    assert await store.write(later.deliver) == 1
    assert await store.write(later.deliver) == 0
    assert await topics(store) == ["first", "second"]
    assert await store.read(later.next_at) is None
    await store.close()


@pytest.mark.feature("PA-010")
async def test_one_key_waits_once(store, clock):
    number = await put_off(store, "tidy", 10.0, "k")
    assert await put_off(store, "tidy", 5.0, "k") == number
    assert await put_off(store, "tidy", 5.0, "other") != number
    clock.wind(10.0)
    assert await store.write(later.deliver) == 2
    again = await put_off(store, "tidy", 0.0, "k")  # nothing of that key waits any more
    assert await store.write(later.deliver) == 1
    assert again
    assert await topics(store) == ["tidy"] * 3


@pytest.mark.feature("PA-010")
async def test_a_negative_delay_is_refused(store):
    with pytest.raises(ValueError, match="delay_s: got -1, expected 0 or more seconds"):
        await put_off(store, "x", -1.0)
    assert await store.read(later.next_at) is None
