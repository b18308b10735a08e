"""Secrets: known by where they come from, read on first use, never shown."""

from __future__ import annotations

import shlex
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from etl.errors import ConfigError
from etl.settings.masking import MASK, finder, unshaped
from etl.settings.text import escaped

#: The stem of the settings that name where alerts go. Such a secret is a list of addresses, with
#: commas, spaces or line breaks between two.
ADDRESSES = "urls"

#: Seconds a key command may take.
COMMAND_TIMEOUT = 30
#: Characters of what a failed command said that are shown: its end.
_SHOWN = 500
#: Characters below which what it printed is taken for no key.
_SHORTEST = 6

# One at a time: a password manager should not ask its question once per thread.
_reading = threading.Lock()


class Secret:
    """Where a key comes from. The key itself is read when a request first needs it.

    Frozen and picklable. A pickle carries a key that came from the environment, but never one
    that was read from a file or a command: there it carries only the place.
    """

    # Slots and no dataclass: `asdict` and `vars` would hand the key out.
    __slots__ = ("_command", "_file", "_kept", "_text", "origin", "setting")

    #: What a person would call its origin, as `OPENAI_API_KEY` or `file /run/secrets/key`.
    origin: str
    #: The stem of the settings that name it: `api_key`, `admin_key` or `urls`.
    setting: str
    _text: str
    _file: Path | None
    _command: str | None
    _kept: str | None

    def __init__(
        self,
        origin: str,
        value: str = "",
        *,
        file: Path | None = None,
        command: str | None = None,
        setting: str = "api_key",
    ) -> None:
        put = object.__setattr__
        put(self, "origin", origin)
        put(self, "setting", setting)
        put(self, "_text", value)
        put(self, "_file", file)
        put(self, "_command", command)
        put(self, "_kept", None)

    @classmethod
    def from_text(cls, origin: str, value: str) -> Secret:
        """A secret whose text is already at hand."""
        return cls(origin, value)

    @property
    def value(self) -> str:
        """The key, read now if it was not yet; empty where none is set.

        Raises ConfigError where the file or command named for it fails, or where what it gives
        cannot be a key.
        """
        with _reading:
            key = self._kept
            if key is None:
                key = self._sound(self._found().strip())
                object.__setattr__(self, "_kept", key)
            return key

    def read(self) -> str:
        """The key. ConfigError that says how to set it where there is none."""
        value = self.value
        if not value:
            raise ConfigError([self.missing()])
        return value

    @property
    def known(self) -> str:
        """The key as far as it is at hand without reading a file or running a command."""
        return self._kept or self._text.strip()

    @property
    def file(self) -> Path | None:
        """The file that holds the key, where one was named."""
        with suppress(RuntimeError):  # `~` of nobody
            return self._file and self._file.expanduser()
        return None

    @property
    def is_named(self) -> bool:
        """Is there a text, a file or a command for it? Whether that works is not tried here."""
        return bool(self.known or self._file or self._command)

    def missing(self) -> str:
        """What to tell somebody whose key is not there."""
        kind = self.setting.replace("_", " ").replace("api", "API")
        kind = "address for alerts" if self.setting == ADDRESSES else kind
        if self._file or self._command:
            return f"no {kind}: {self.origin} gives none"
        if not self.origin.isidentifier():
            return f"no {kind}: name {self.setting}_env or {self.setting}_file in the configuration"
        return (
            f"no {kind}: {self.origin} is not set; `export {self.origin}=…`, "
            f"or write it to .env, or name {self.setting}_file in the configuration"
        )

    def _found(self) -> str:
        if self._file is not None:
            return self._from_file(self._file)
        if self._command is not None:
            return self._from_command(self._command)
        return self._text

    def _from_file(self, file: Path) -> str:
        try:
            return file.expanduser().read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            # The decoder's own message would quote bytes of the key.
            raise self._error("is not UTF-8 text") from None
        except (OSError, RuntimeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise self._error(f"cannot be read: {reason}") from None

    def _from_command(self, command: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - the user's own command, split and without a shell
                shlex.split(command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMMAND_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # Its exception holds what was printed so far.
            raise self._error(f"gave no key within {COMMAND_TIMEOUT} seconds") from None
        except (OSError, ValueError) as error:
            raise self._error(f"cannot be run: {error}") from None
        if done.returncode != 0:
            # A command that traces its own steps shows there what it printed, too.
            printed = finder([done.stdout.decode("utf-8", "replace").strip()], _SHORTEST)
            told = printed.sub(MASK, done.stderr.decode("utf-8", "replace").strip())
            said = escaped(unshaped(told)[-_SHOWN:])
            raise self._error(f"ended with code {done.returncode}: {said or 'it said nothing'}")
        return done.stdout.decode("utf-8", "replace")

    def _sound(self, key: str) -> str:
        """Keys become header values; anything but visible ASCII is a mistake, and never shown.

        Of addresses, one to a line or behind a space, the text with commas between them.
        """
        if self.setting == ADDRESSES:
            key = ",".join(word for part in key.split() if (word := part.strip(",")))
        if any(not "!" <= char <= "~" for char in key):
            raise self._error(
                "holds a space, a line break or another character that no key has; "
                "it must be the key alone, on one line"
            )
        return key

    def _error(self, what: str) -> ConfigError:
        place = "[alerts]: " if self.setting == ADDRESSES else ""
        return ConfigError([f"{place}{self.setting} from {self.origin} {what}"])

    def __bool__(self) -> bool:
        return bool(self.value)

    def __str__(self) -> str:
        return f"<key from {self.origin}>"

    def __repr__(self) -> str:
        return f"Secret(origin={self.origin!r})"

    def _identity(self) -> tuple[object, ...]:
        return self.origin, self.setting, self._text, self._file, self._command

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"a secret is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a secret is frozen: cannot delete {name}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (self.origin, self._text, self._file, self._command, self.setting)


def _rebuilt(
    origin: str, text: str, file: Path | None, command: str | None, setting: str
) -> Secret:
    return Secret(origin, text, file=file, command=command, setting=setting)
