"""Make Superset's own tables, its roles and one administrator, in one process.

What `superset db upgrade`, `superset init` and `superset fab create-admin` do, but the password
comes from the environment and stands in no list of processes.
"""

import os
from pathlib import Path

import superset
from flask_migrate import upgrade
from superset.app import create_app

app = create_app()
with app.app_context():
    from superset import appbuilder, security_manager

    upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
    appbuilder.add_permissions(update_perms=True)
    security_manager.sync_role_definitions()
    role = security_manager.find_role("Admin")
    password = os.environ["SUPERSET_ADMIN_PASSWORD"]
    if not security_manager.add_user(
        "admin", "Trial", "Admin", "admin@example.org", role, password
    ):
        raise SystemExit("the administrator could not be made")
