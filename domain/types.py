"""Let msgspec look at types while only one thread runs.

msgspec 0.22 crashes the interpreter when two threads look at a Struct for the first time at once; whoever decodes in the
store's threads names its types here, at import.
"""

import msgspec


def looked_at(*kinds: type) -> None:
    """Make msgspec look at these types, and at all that they hold."""
    for kind in kinds:
        msgspec.json.Decoder(kind)
