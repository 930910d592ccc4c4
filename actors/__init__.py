"""Who does it: one file per actor."""
