"""Serve the pages of MLflow or of Airflow with TLS: `python -m perennial.local.secured_pages mlflow|airflow`.

Their own commands read a certificate once, when they start. Here uvicorn gets a context that follows the files, so that
a renewed certificate needs no restart. With PERENNIAL_TLS_PAGES the certificate is that of the public and people come
with their passwords; else it is that of the plant, and callers show a certificate of a role that may call.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

from perennial import settings as environment
from perennial.core.certificates.roles import ProcessRole, callers
from perennial.internal_tls.contexts import files_context, server_context
from perennial.settings import Settings

AIRFLOW_SECONDS = 120
"""Idle time of a connection to Airflow, as its own command has it."""


def wanted(settings: Settings) -> bool:
    """Return whether the pages have TLS.

    Raises:
        SettingsError: as for `Settings.pages_tls`.
    """
    return settings.pages_tls is not None or settings.internal_tls is not None


def command(page: str) -> tuple[str, ...]:
    """Return the command of a page's server."""
    return (sys.executable, "-m", "perennial.local.secured_pages", page)


def options(settings: Settings, role: ProcessRole) -> dict[str, Any]:
    """Return what uvicorn is told about TLS."""
    from perennial.serving.http.known_callers import KnownCallers

    public = settings.pages_tls
    if public is not None:
        context, allowed = files_context(*public), None
    else:
        context, allowed = server_context(settings.identity_of(role).check()), callers(role)
    return {
        "ssl_context_factory": lambda config, default: context,
        "http": partial(KnownCallers, callers=allowed),
    }


def serve(page: str) -> None:
    """Serve until SIGTERM."""
    import uvicorn

    settings = environment.load()
    if page == "mlflow":
        uvicorn.run(
            "perennial.tracking_server.app:create_app", factory=True, host=settings.host_pages,
            port=settings.port_mlflow, **options(settings, ProcessRole.MLFLOW),
        )  # fmt: skip
        return
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_configuration()
    os.environ["AIRFLOW_API_APPS"] = "all"
    uvicorn.run(
        "airflow.api_fastapi.main:app", host=settings.host_pages, port=settings.port_airflow, access_log=False,
        log_config=None, timeout_keep_alive=AIRFLOW_SECONDS, timeout_graceful_shutdown=AIRFLOW_SECONDS,
        **options(settings, ProcessRole.AIRFLOW),
    )  # fmt: skip


if __name__ == "__main__":
    serve(*sys.argv[1:])
