"""The operator's verbs, assembled."""

import typer

from services.console import (
    abandoning,
    acting,
    actors,
    configuring,
    database,
    dead_letters,
    draining,
    messages,
    reading,
)


def build(app: typer.Typer) -> None:
    """Add every verb to the program."""
    for verb in (
        reading.status,
        reading.jobs,
        reading.job,
        reading.why,
        reading.files,
        reading.alerts,
        actors.actors,
        acting.submit,
        acting.retry,
        acting.kill,
        acting.hold,
        acting.release,
        draining.drain,
        abandoning.abandon,
        acting.page,
    ):
        app.command(name=verb.__name__.replace("_", "-"))(verb)
    app.add_typer(dead_letters.app, name="dlq")
    app.add_typer(messages.app, name="msg")
    app.add_typer(database.app, name="db")
    app.add_typer(configuring.app, name="config")
