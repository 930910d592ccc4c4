"""The exceptions of the actor core, named by what happened."""


class Transient(Exception):
    """A fault of the outside world (database or host away): its actor backs off without spending the restart budget."""


class Answer(Exception):
    """Raised by a handler as its answer to an ask: nothing went wrong, so it is logged in one line."""


class MailboxFull(Exception):
    """A mailbox had no room and its overflow policy refuses the newcomer."""


class AskCycle(RuntimeError):
    """An ask would wait for an actor that already waits for the asker."""


class HandlerOverdue(Exception):
    """A handler ran past its deadline, so its actor was cancelled."""


class StartOverdue(Exception):
    """`on_start` ran past the start time-out."""


class Escalated(Exception):
    """A supervisor used up its restart budget."""


class HandlerCancelled(Exception):
    """A handler ended with a CancelledError that nobody sent to it."""
