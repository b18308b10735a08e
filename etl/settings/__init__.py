"""Settings: read the file and the environment once, check everything, freeze."""

from etl.settings.loading import load
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

__all__ = [
    "PROVIDERS",
    "Limit",
    "Secret",
    "Settings",
    "Source",
    "duration",
    "escaped",
    "load",
    "mask_url",
    "nearest",
    "passwords",
    "require_keys",
    "split_addresses",
]
