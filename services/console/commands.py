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
    failures,
    holding,
    messages,
    nodes,
    reading,
    sites,
    tailing,
    transfers,
)


def build(app: typer.Typer) -> None:
    """Add every verb to the program."""
    for verb in (
        reading.status,
        reading.jobs,
        reading.job,
        tailing.logs,
        reading.why,
        reading.files,
        reading.alerts,
        sites.sites,
        sites.site,
        sites.confirm_feed,
        actors.actors,
        acting.submit,
        acting.retry,
        acting.kill,
        holding.hold,
        holding.release,
        holding.holds,
        draining.drain,
        abandoning.abandon,
        acting.page,
    ):
        app.command(name=verb.__name__.replace("_", "-"))(verb)
    app.add_typer(dead_letters.app, name="dlq")
    app.add_typer(messages.app, name="msg")
    app.add_typer(failures.app, name="errors")
    app.add_typer(nodes.app, name="nodes")
    app.add_typer(transfers.app, name="transfers")
    app.add_typer(database.app, name="db")
    app.add_typer(configuring.app, name="config")
