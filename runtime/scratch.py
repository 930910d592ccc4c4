"""Finds a working directory for an attempt: on the node's own disk, where the site names one."""

import os

VARIABLE = "PRODAGENT_SCRATCH"
"""Environment variable that names a directory on the node's own disk; the script of a batch job sets it."""


def working_directory(shared: str, token: str) -> str:
    """Return the name of a directory that is to be made for an attempt: `shared` where no disk of the node is named."""
    own = os.environ.get(VARIABLE)
    return os.path.join(os.path.abspath(own), "prodagent-" + token) if own else shared
