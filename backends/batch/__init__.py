"""Batch systems: places where attempts run."""
