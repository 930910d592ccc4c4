"""The operator's verbs, assembled."""

import typer

from services.console import acting, actors, configuring, reading


def build(app: typer.Typer) -> None:
    """Add every verb to the program."""
    for verb in (
        reading.status,
        reading.jobs,
        reading.job,
        reading.why,
        reading.files,
        reading.alerts,
        acting.dead_letters,
        actors.actors,
        acting.submit,
        acting.retry,
        acting.kill,
        acting.hold,
        acting.release,
        acting.page,
    ):
        app.command(name=verb.__name__.replace("_", "-"))(verb)
    app.add_typer(configuring.app, name="config")
