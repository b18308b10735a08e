"""A fake fine-tuning API over real HTTP, with a world of its own and faults on request.

It imports nothing of the rest of this package and nothing that is not in the standard library:
were code shared, a mistake in it would be on both sides and no test would see it.
"""

from .faults import GRAMMAR, Fault, parse_fault
from .server import Simulator
from .world import World

__all__ = ["GRAMMAR", "Fault", "Simulator", "World", "parse_fault"]
