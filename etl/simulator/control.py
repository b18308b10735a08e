"""The controls outside the API, below `/__simulator`: for tests and for trying things out."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from .faults import Faults
from .slices import dump
from .spoil import Answer
from .world import UnknownIdError, World


class Tally:
    """How often which path template was asked for, with which outcome. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, method: str, template: str, outcome: str) -> None:
        """Count a request; the outcome is the status, or the fault that left it unanswered."""
        with self._lock:
            self._counts[f"{method} {template}", outcome] += 1

    def reset(self) -> dict[str, object]:
        """Begin again from zero."""
        with self._lock:
            self._counts.clear()
        return self.as_dict()

    def as_dict(self) -> dict[str, object]:
        """`{"total": n, "requests": {"GET /path": {"200": n}}}`."""
        with self._lock:
            counts = dict(self._counts)
        requests: dict[str, dict[str, int]] = {}
        for (path, outcome), count in sorted(counts.items()):
            requests.setdefault(path, {})[outcome] = count
        return {"total": sum(counts.values()), "requests": requests}


class Control:
    """Answers what is asked below `/__simulator`."""

    def __init__(self, world: World, faults: Faults, tally: Tally) -> None:
        self._world, self._faults, self._tally = world, faults, tally

    def answer(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """The answer to a control request; `path` begins behind `/__simulator`."""
        try:
            sent = json.loads(body) if body.strip() else None
            result = self._act(method, path, query, sent)
        except UnknownIdError as error:
            return _answer(404, {"error": f"unknown id {error}"})
        except (ValueError, RecursionError) as error:
            return _answer(400, {"error": str(error)})
        if result is None:
            return _answer(404, {"error": f"no {method} /__simulator{path}"})
        return _answer(200, result)

    def _act(self, method: str, path: str, query: str, sent: Any) -> dict[str, object] | None:
        actions: dict[tuple[str, str], Callable[[], dict[str, object]]] = {
            ("GET", "/requests"): self._tally.as_dict,
            ("POST", "/requests/reset"): self._tally.reset,
            ("POST", "/advance"): lambda: self._advance(query, sent),
            ("POST", "/remove"): lambda: {"removed": self._world.remove(_ids(sent))},
            ("POST", "/restore"): lambda: {"restored": self._world.restore(_ids(sent))},
            ("POST", "/pause"): lambda: {"paused": self._world.pause(_ids(sent))},
            ("POST", "/expire"): lambda: {"expired": self._world.expire(_ids(sent))},
            ("POST", "/faults"): lambda: {"faults": self._faults.replace(_specs(sent))},
        }
        action = actions.get((method, path))
        return None if action is None else action()

    def _advance(self, query: str, sent: Any) -> dict[str, object]:
        asked = {**dict(parse_qsl(query)), **_mapping(sent)}
        unknown = asked.keys() - {"changed", "new", "ids"}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known are changed, new, ids")
        ids = _texts(asked["ids"]) if "ids" in asked else None
        step = self._world.advance(_count(asked, "changed"), _count(asked, "new"), ids=ids)
        return {"changed": step.changed, "new": step.new, "now": step.now}


def _answer(status: int, value: dict[str, object]) -> Answer:
    return Answer(status, dump(value).encode())


def _mapping(sent: Any) -> dict[str, Any]:
    if sent is None:
        return {}
    if not isinstance(sent, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - it came by HTTP
    return sent


def _specs(sent: Any) -> list[str]:
    return _texts(sent if isinstance(sent, list) else _mapping(sent).get("faults"))


def _ids(sent: Any) -> list[str]:
    return _texts(_mapping(sent).get("ids"))


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("a list of texts is expected")
    return values


def _count(asked: dict[str, Any], name: str) -> int | None:
    value = asked.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{name} is {value!r}, not a number")
    return value
