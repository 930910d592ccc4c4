"""On the worker node: standard library only, Python 3.6 or newer, built into one zipapp."""
