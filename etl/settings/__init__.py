"""Settings: read the file and the environment once, check everything, freeze."""

from etl.settings.loading import load, variable
from etl.settings.model import (
    PROVIDERS,
    Limit,
    Settings,
    Source,
    passwords,
    require_keys,
    split_addresses,
)
from etl.settings.secret import Secret
from etl.settings.text import duration, escaped, mask_url, nearest
from etl.settings.urls import database_problem

__all__ = [
    "PROVIDERS",
    "Limit",
    "Secret",
    "Settings",
    "Source",
    "database_problem",
    "duration",
    "escaped",
    "load",
    "mask_url",
    "nearest",
    "passwords",
    "require_keys",
    "split_addresses",
    "variable",
]
