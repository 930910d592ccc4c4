"""The names of pykka that the core relies on; a new pykka that lacks one is found here, by name."""

import inspect

import pykka
import pytest
from pykka import messages

from supervisors import ActorRef, AsyncioActor, Reply


@pytest.mark.parametrize("hook", ["_create_actor_inbox", "_create_future", "_start_actor_loop"])
def test_hooks_for_new_runtimes(hook):
    assert getattr(pykka.Actor, hook).__isabstractmethod__


def test_start_makes_registers_and_runs():
    source = inspect.getsource(pykka.Actor.start)
    for step in ("cls(*args, **kwargs)", "obj.actor_ref", "ActorRegistry.register", "obj._start_actor_loop()"):
        assert step in source


def test_the_actor_keeps_its_ref_in_a_private_name():
    assert "self._actor_ref" in inspect.getsource(pykka.Actor.actor_ref.fget)


def test_the_stop_message():
    assert messages._ActorStop() == ()


def test_proxies_find_the_actor_through_a_private_weak_reference():
    assert "actor_ref._actor_weakref()" in inspect.getsource(pykka.ActorProxy.__init__)


def test_proxy_messages_have_the_fields_that_are_read():
    assert messages.ProxyCall._fields == ("attr_path", "args", "kwargs")
    assert messages.ProxyGetAttr._fields == ("attr_path",)
    assert messages.ProxySetAttr._fields == ("attr_path", "value")


def test_the_registry_looks_at_what_the_ref_has():
    for name in ("get_by_class", "get_by_class_name", "get_by_urn", "broadcast", "stop_all"):
        assert hasattr(pykka.ActorRegistry, name)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(AsyncioActor, pykka.Actor), (ActorRef, pykka.ActorRef), (Reply, pykka.Future)]
)
def test_every_public_name_of_pykka_is_there(ours, theirs):
    assert issubclass(ours, theirs)
    missing = [name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)]
    assert not missing


def test_pykka_has_no_context_yet():
    """A later pykka enters a context in the loop that the core replaces: then the life must enter it."""
    assert not hasattr(pykka.Actor, "_actor_context")
