"""`python -m etl.cli` is `ftmirror`."""

import sys

from etl.cli import main

sys.exit(main())
