"""The demonstration: one command from a request to delivered physics."""

from services.demo.options import DemoOptions
from services.demo.run import run_demo

__all__ = ["DemoOptions", "run_demo"]
