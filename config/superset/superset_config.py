"""Superset's settings for a trial on one machine: `make bi` runs with these.

Not for a server that others can reach: there is no protection against forged requests, and no
encryption. The key of its sessions comes from the environment, and is made anew for each trial.
"""

import os
from pathlib import Path

SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
SQLALCHEMY_DATABASE_URI = f"sqlite:///{Path(os.environ['SUPERSET_HOME']) / 'superset.db'}"
# The bundle is for any of the three databases, and SQLite is refused otherwise.
PREVENT_UNSAFE_DB_CONNECTIONS = False
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
RATELIMIT_ENABLED = False
# A figure is to be asked for, not remembered.
CACHE_CONFIG = {"CACHE_TYPE": "NullCache"}
DATA_CACHE_CONFIG = {"CACHE_TYPE": "NullCache"}
