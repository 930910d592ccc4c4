"""The demonstration: one command from a request to delivered physics (services/demo/run.py)."""
