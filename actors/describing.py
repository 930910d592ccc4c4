"""Says what a target gives to the jobs of a workflow: for the specifications that are handed over, and for those that are kept."""

from actors import staging
from actors.world import World
from config.site_settings import Target
from domain.job import JobType
from domain.jobspec import Surroundings
from storage.courses import Course
from storage.workflows import Workflow


def surroundings(
    world: World, site: str, target: Target, workflow: Workflow, kind: JobType, course: Course
) -> Surroundings:
    """Return it for one type of job. Raises LookupError or ValueError where something of it is not known."""
    sandbox = (
        {"path": str(world.sandboxes.path(workflow.sandbox)), "sha256": workflow.sandbox} if workflow.sandbox else None
    )
    return Surroundings(
        sandbox,
        target.environment,
        staging.rules(world, site, workflow.spec),
        target.hold_failure_s,
        target.prestage,
        course.accepted(kind),
        world.settings.archives.logs,
    )
