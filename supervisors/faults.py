"""The exceptions of the actor core, named by what happened."""


class Transient(Exception):  # noqa: N818
    """A fault of the outside world (database or host away): its actor backs off without spending the restart budget."""


class MailboxFull(Exception):  # noqa: N818
    """A mailbox had no room and its overflow policy refuses the newcomer."""


class AskCycle(RuntimeError):  # noqa: N818
    """An ask would wait for an actor that already waits for the asker."""


class HandlerOverdue(Exception):  # noqa: N818
    """A handler ran past its deadline, so its actor was cancelled."""


class StartOverdue(Exception):  # noqa: N818
    """`on_start` ran past the start time-out."""


class Escalated(Exception):  # noqa: N818
    """A supervisor used up its restart budget."""


class HandlerCancelled(Exception):  # noqa: N818
    """A handler ended with a CancelledError that nobody sent to it."""
