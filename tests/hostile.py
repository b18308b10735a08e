"""Texts that some program on the way might take for something else than text."""

from __future__ import annotations

import re

HOSTILE = {
    "an injection": "'); DROP TABLE jobs; --",
    "another injection": "\\'; DELETE FROM jobs WHERE ''='",
    "a backslash at the end": "\\",
    "quotes": '\'"`\u00b4\u2019"\'\'""',
    "a tautology": "1' OR '1'='1",
    "marks of parameters": "%s %(name)s %% :name ? $1 {} {0} {name!r}",
    "colours": "\x1b[2J\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "one-byte escape": "\x9b2J\x9d0;title\x9c",
    "backspaces": "rm -rf\b\b\b\b\b\bls    \r\x7f",
    "lines": "a\nerror: b\r\nc\x0bd\x0ce\x85f",
    "turned around": "\u202egnp.exe\u202c \u2066a\u2069 \u200f\u061c",
    "separators": "a\u2028b\u2029c",
    "invisible": "a\u200b\u200d\ufeff\u00adb\u2060",
    "no characters": "\uffff\ufffe\ufdd0\U0010ffff",
    "already replaced": "\ufffd",
    "emoji": "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 \U0001d518",
    "stacked marks": "Z" + "\u0300\u0317\u0352" * 30,
    "two spellings": "é e\u0301 Å A\u030a",
    "folded by some": "ß SS \u0131 İ \ufb03 \u017f",
    "blanks at both ends": "  \t a \t  ",
    "HTML": "<script>alert(1)</script>&amp;<!--",
    "a formula": "=cmd|' /C calc'!A1",
    "a shell": "$(id) `id` ;id | id && id > /tmp/x",
    "a path": "../../../etc/passwd%00",
    "JSON": '{"id": "x", "a": [1, null]}',
    "a COPY": "\\.\n\\N\t\\\\",
    "NULL": "NULL",
    "a number": "1e999",
    "GBK": "\u7e97\\' OR 1=1 -- \u8a9e",
    "control": "".join(map(chr, range(1, 32))),
    "long": "ab'\\" * 16_500,
    "U+0000": "a\x00b",
    "a lone surrogate": "a\ud800b",
    "another lone surrogate": "\udfff",
}
#: What no database stores.
UNSTORABLE = {"U+0000", "a lone surrogate", "another lone surrogate"}

#: What steers a terminal, fakes a line or turns the direction of writing.
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
