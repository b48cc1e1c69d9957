"""Method and path of every route that MLflow itself says it has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LIST_ROUTES = """
import json, os, re, sys
os.environ.update(MLFLOW_FLASK_SERVER_SECRET_KEY="x" * 32, MLFLOW_AUTH_ADMIN_PASSWORD="a password of tests",
                  MLFLOW_TRACKING_URI="sqlite:///" + sys.argv[1] + "/m.db")
os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"
from pathlib import Path
Path(sys.argv[1], "auth.ini").write_text(
    "[mlflow]\\ndefault_permission = READ\\ndatabase_uri = sqlite:///" + sys.argv[1] + "/auth.db\\n"
    "admin_username = admin\\nadmin_password = a password of tests\\n"
    "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\\n")
os.environ["MLFLOW_AUTH_CONFIG_PATH"] = sys.argv[1] + "/auth.ini"
from mlflow.server import app as flask_app, auth
served = auth.create_app()
found = {(m, re.sub(r"<[^>]+>", "x", r.rule)) for r in flask_app.url_map.iter_rules() for m in r.methods}
def walk(routes, prefix=""):
    for route in routes:
        if getattr(route, "methods", None):
            found.update((m, re.sub(r"{[^}]+}", "x", prefix + route.path)) for m in route.methods)
        elif hasattr(route, "original_router"):
            walk(route.original_router.routes, prefix + (getattr(route.include_context, "prefix", "") or ""))
        elif getattr(route, "routes", None) and not hasattr(route.app, "wsgi_app"):
            walk(route.routes, prefix + getattr(route, "path", ""))
walk(served.routes)
print(json.dumps(sorted(f for f in found if f[0] not in ("HEAD", "OPTIONS"))))
"""


def mlflow_routes(folder: Path) -> list[tuple[str, str]]:
    """Return the routes of MLflow's server, its part of FastAPI too; it makes its databases in the folder."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_ROUTES, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(pair) for pair in json.loads(done.stdout.splitlines()[-1])]
