"""BentoML's command line with the control sockets of its supervisor (circus) in a private folder.

BentoML gives circus TCP ports without authentication, by which any account of the machine could run commands as the
model server. BentoML has no setting for them, so the function that builds the supervisor is replaced here.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from typing import Any

import bentoml._internal.utils.circus as supervisor
from bentoml_cli.cli import cli

CHECK_SECONDS = 10
"""BentoML's own interval of the checks of its worker."""


def private_arbiter(watchers: list[Any], **options: Any) -> supervisor.Arbiter:
    """Build the supervisor; the folder of its sockets has mode 0700 and goes with it."""
    # Not in the state folder: the path of a socket has at most 107 bytes.
    folder = tempfile.mkdtemp(prefix="perennial-circus-")
    options.setdefault("check_delay", CHECK_SECONDS)
    options.pop("threaded", None)
    arbiter = supervisor.Arbiter(
        watchers, endpoint=f"ipc://{folder}/control", pubsub_endpoint=f"ipc://{folder}/events", **options
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return arbiter


if __name__ == "__main__":
    supervisor.create_standalone_arbiter = private_arbiter
    cli()
