"""What may go wrong on request: fault specs, and which request a fault strikes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .dice import mix

GRAMMAR = """\
KIND[=VALUE][,OPTION=VALUE]...[@PATH][#N[,N]... | %PERCENT][xTIMES]
  KIND     status=CODE      answer with this status; options: retry-after=SECONDS|date:SECONDS|TEXT,
                            retry-after-ms=MS, should-retry=true|false, body=rate_limit_exceeded|
                            insufficient_quota|server_error|html|empty|problem+json
           timeout[=S]      no answer: hang for S seconds, or until the server stops
           drip[=S]         the right answer, its body spread over S seconds (default 2)
           cut[=SHARE]      close after this share of the body (default 0.5)
           reset            reset the connection instead of answering
           length[=DELTA]   Content-Length off by DELTA bytes (default 10)
           notjson          200 and text that is no JSON
           html             200 and an HTML page
           empty            200 and nothing
           envelope[=FORM]  200 and another shape: renamed, array, null, error or
                            no-has-more (default renamed)
           repeat           the page served before once more, with has_more true
           stuck            a page that ends with the id the page before ended with
           twice            the last record of the page before once more on this page
           missing=FIELD    the first record lacks this member; record=all: every record
           revoked          401 invalid_api_key, to every request from then on
           redirect[=URL]   307 to another address
  @PATH    only requests whose path, without /v1, begins so; * is any one part, a final $ the end
  #N,N     only the Nth such requests (from 1); %PERCENT: about so many of 100, by the world's seed
  xTIMES   at most so often
  examples status=429,retry-after=1@/fine_tuning/jobs$#2   cut%5x3   missing=status@/fine_tuning"""

BODIES = (
    "rate_limit_exceeded", "insufficient_quota", "server_error", "html", "empty", "problem+json",
)  # fmt: skip
ENVELOPES = ("renamed", "array", "null", "error", "no-has-more")
_STATUS_OPTIONS = ("retry-after", "retry-after-ms", "should-retry", "body")


class FaultSpecError(ValueError):
    """A fault spec that cannot be read; the message names the bad part and shows the grammar."""

    def __init__(self, spec: str, problem: str) -> None:
        super().__init__(f"fault {spec!r}: {problem}. A fault is written\n{GRAMMAR}")


def _any_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(text: str) -> bool:
    return _any_number(text) and 0 <= float(text) < 86_400


#: What each kind's value must be: None forbids one; and the value when none is given.
_VALUES: Mapping[str, tuple[str, Callable[[str], bool], str | None] | None] = {
    "status": (
        "a status from 200 to 599",
        lambda text: text.isdigit() and 200 <= int(text) <= 599,
        None,
    ),
    "timeout": ("seconds", _seconds, ""),
    "drip": ("seconds", _seconds, "2"),
    "cut": ("a share below 1", lambda text: _any_number(text) and 0 <= float(text) < 1, "0.5"),
    "reset": None,
    "length": (
        "a whole number other than 0",
        lambda text: bool(re.fullmatch(r"-?[0-9]+", text)) and int(text) != 0,
        "10",
    ),
    "notjson": None,
    "html": None,
    "empty": None,
    "envelope": (f"one of {', '.join(ENVELOPES)}", ENVELOPES.__contains__, "renamed"),
    "repeat": None,
    "stuck": None,
    "twice": None,
    "missing": ("a member's name", bool, None),
    "revoked": None,
    "redirect": ("an address", bool, "/v1/elsewhere"),
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, and when. `str(fault)` is its spec."""

    kind: str
    value: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    #: Begin of the path, without `/v1`; `*` is any one part, a final `$` the end.
    path: str = ""
    #: Which matching requests, from 1; empty for all.
    requests: tuple[int, ...] = ()
    #: Of 100 matching requests about so many.
    percent: float | None = None
    #: At most so often.
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _VALUES:
            known = ", ".join(_VALUES)
            raise FaultSpecError(str(self), f"unknown kind {self.kind!r}; known are {known}")
        self._check_value()
        self._check_options()
        self._check_when()
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def _check_value(self) -> None:
        rule = _VALUES[self.kind]
        if rule is None:
            if self.value is not None:
                raise FaultSpecError(str(self), f"{self.kind} takes no value, not {self.value!r}")
            return
        meaning, fits, default = rule
        if self.value is None and default is None:
            raise FaultSpecError(str(self), f"{self.kind} needs a value: {meaning}")
        if self.value is not None and not fits(self.value):
            raise FaultSpecError(str(self), f"{self.kind}={self.value} is not {meaning}")

    def _check_options(self) -> None:
        known = {"status": _STATUS_OPTIONS, "missing": ("record",)}.get(self.kind, ())
        allowed = {
            "should-retry": ("true", "false"), "body": BODIES, "record": ("first", "all"),
        }  # fmt: skip
        for name, value in self.options.items():
            if name not in known:
                raise FaultSpecError(str(self), f"{self.kind} has no option {name!r}")
            choices = allowed.get(name)
            if choices and value not in choices:
                problem = f"{name}={value} is not one of {', '.join(choices)}"
                raise FaultSpecError(str(self), problem)
            if name == "retry-after-ms" and not _any_number(value):
                raise FaultSpecError(str(self), f"{name}={value} is not a number")
            if value.startswith("date:") and not _any_number(value[5:]):
                raise FaultSpecError(str(self), f"{name}={value} has no seconds after date:")

    def _check_when(self) -> None:
        if self.path and not self.path.startswith("/"):
            raise FaultSpecError(str(self), f"the path {self.path!r} does not begin with /")
        if any(number < 1 for number in self.requests):
            raise FaultSpecError(str(self), "requests are counted from 1")
        if self.percent is not None and not 0 < self.percent <= 100:
            raise FaultSpecError(str(self), f"%{self.percent:g} is not above 0 and at most 100")
        if self.requests and self.percent is not None:
            raise FaultSpecError(str(self), "#N and %PERCENT exclude each other")
        if self.times is not None and self.times < 1:
            raise FaultSpecError(str(self), "xTIMES begins at x1")

    @property
    def setting(self) -> str:
        """The value, or what it means when none is given."""
        rule = _VALUES[self.kind]
        return self.value if self.value is not None else (rule and rule[2]) or ""

    def __str__(self) -> str:
        spec = self.kind if self.value is None else f"{self.kind}={self.value}"
        spec += "".join(f",{name}={value}" for name, value in self.options.items())
        spec += f"@{self.path}" if self.path else ""
        if self.requests:
            spec += "#" + ",".join(map(str, self.requests))
        spec += "" if self.percent is None else f"%{self.percent:g}"
        return spec + ("" if self.times is None else f"x{self.times}")


def parse_fault(spec: str) -> Fault:
    """Read a fault spec (see `GRAMMAR`). ValueError names what is wrong with it."""
    rest, times, percent = spec.strip(), None, None
    requests: tuple[int, ...] = ()
    match = re.search(r"x([0-9]+)$", rest)
    if match:
        times, rest = int(match[1]), rest[: match.start()]
    body, sign, when = rest.rpartition("#")
    if sign:
        if not re.fullmatch(r"[0-9]+(,[0-9]+)*", when):
            raise FaultSpecError(spec, f"#{when} is not a list of request numbers")
        rest, requests = body, tuple(map(int, when.split(",")))
    else:
        body, sign, when = rest.rpartition("%")
        if sign:
            if not _any_number(when):
                raise FaultSpecError(spec, f"%{when} is not a percentage")
            rest, percent = body, float(when)
    what, sign, path = rest.partition("@")
    if sign and not path:
        raise FaultSpecError(spec, "there is no path after @")
    head, *extras = what.split(",")
    kind, sign, value = head.partition("=")
    options = {}
    for extra in extras:
        name, equals, setting = extra.partition("=")
        if not equals:
            raise FaultSpecError(spec, f"the option {extra!r} has no value")
        options[name] = setting
    path = path.removeprefix("/v1")
    return Fault(kind, value if sign else None, options, path, requests, percent, times)


@dataclass
class _Armed:
    """A fault, and how often it has been met and has struck."""

    fault: Fault
    pattern: re.Pattern[str]
    met: int = 0
    struck: int = 0


class Faults:
    """The faults in force. Thread-safe."""

    def __init__(self, faults: Iterable[Fault | str], seed: int) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self.revoked = False
        self.replace(faults)

    def replace(self, faults: Iterable[Fault | str]) -> list[str]:
        """Put other faults in force, counting from the beginning, and return their specs."""
        parsed = [parse_fault(fault) if isinstance(fault, str) else fault for fault in faults]
        with self._lock:
            self._armed = [_Armed(fault, _pattern(fault.path)) for fault in parsed]
            self.revoked = False
        return [str(fault) for fault in parsed]

    @property
    def struck(self) -> dict[str, int]:
        """How many requests each of the faults in force has hit, by its spec, if any."""
        with self._lock:
            return {str(armed.fault): armed.struck for armed in self._armed if armed.struck}

    def strike(self, path: str) -> Fault | None:
        """The fault that hits the next request for this path (without `/v1`), or None."""
        if not self._armed:
            return None
        hit = None
        with self._lock:
            for number, armed in enumerate(self._armed):
                if not armed.pattern.match(path):
                    continue
                armed.met += 1
                if hit is None and self._due(armed, number):
                    armed.struck += 1
                    hit = armed.fault
                    self.revoked = self.revoked or hit.kind == "revoked"
        return hit

    def _due(self, armed: _Armed, number: int) -> bool:
        fault = armed.fault
        if fault.times is not None and armed.struck >= fault.times:
            return False
        if fault.requests:
            return armed.met in fault.requests
        if fault.percent is not None:
            throw = mix(self._seed, 70, number, armed.met) % 1_000_000
            return throw < fault.percent * 10_000
        return True


def _pattern(path: str) -> re.Pattern[str]:
    end = "$" if path.endswith("$") else ""
    parts = (re.escape(part) for part in path.removesuffix("$").split("*"))
    return re.compile("[^/]*".join(parts) + end)
