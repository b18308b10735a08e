"""The data dictionary: what tables, views and columns mean, and the ways to show it."""

from etl.dictionary.model import (
    GROUPS,
    Dictionary,
    DictionaryColumn,
    DictionaryTable,
    DictionaryView,
    Reference,
    as_json,
    build,
)

__all__ = [
    "GROUPS",
    "Dictionary",
    "DictionaryColumn",
    "DictionaryTable",
    "DictionaryView",
    "Reference",
    "as_json",
    "build",
]
