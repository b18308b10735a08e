"""Worlds at several moments of their history, each moment served for as long as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from etl.simulator import Simulator, World
from tests.evolving import Evolving


def at(seed: int, jobs: int, steps: int, provider: str = "openai") -> World:
    """A world after so many steps: the same steps for the same seed."""
    story = Evolving(seed, jobs, provider)
    for number in range(1, steps + 1):
        story.go_on()
        if number % 2 == 0:
            _expire(story.world)
    return story.world


def _expire(world: World) -> None:
    """Let a file vanish, as files do after a while."""
    page = world.files(None, 3, "fine-tune-results", rising=True)
    world.expire([one for one, _ in page.items[:1]])


@contextmanager
def served(
    seed: int,
    jobs: int,
    moments: int,
    *,
    provider: str = "openai",
    latency: float = 0.0,
    log: Callable[[str], None] | None = None,
) -> Iterator[list[Simulator]]:
    """The API of a world at its beginning, after one step, after two …: one server for each."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Simulator(at(seed, jobs, steps, provider), latency=latency, log=log)
            )
            for steps in range(moments)
        ]
