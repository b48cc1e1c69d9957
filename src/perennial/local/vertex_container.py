"""A cell of one model as a container of Vertex AI: one process, without Envoy and without API keys.

Vertex AI starts the container, says port and routes by variables, and alone reaches it: Google's IAM asks the callers
of an endpoint who they are, and hands on no header of ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from perennial.core.release.traffic import PoolName
from perennial.errors import FileRefused, SettingsError
from perennial.local import cells
from perennial.serving import desired_state
from perennial.settings import Settings

PORT, HEALTH, PREDICT = "AIP_HTTP_PORT", "AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE"
"""Variables that Vertex AI sets in each container."""
READY = "/v2/health/ready"


def serve(settings: Settings, folder: Path, say: Callable[[str], None]) -> None:
    """Serve the version of a cell's folder on every address, at the port that Vertex AI names.

    Raises:
        SettingsError: this is no container of Vertex AI, or its routes are not those of the model.
        FileRefused: the folder is not that of a cell, or has several models.
        NotSigned, ModelFileError: the version cannot be loaded.
    """
    port = _port(os.environ)
    cells.hold(settings, folder)
    models = desired_state.read(desired_state.state_file(settings.serving_dir, PoolName.STABLE)).models
    if len(models) != 1:
        raise FileRefused(
            f"{folder} has {len(models)} models, and a model of Vertex AI has one route",
            hint="perennial cell export FOLDER --model MODEL, once each",
        )
    check_routes(os.environ, models[0].model)

    import uvicorn

    from perennial.serving.single.door import OpenDoor
    from perennial.serving.single.server import single_server
    from perennial.wiring.here import trusted

    server = single_server(settings, settings.serving_dir, trusted(settings), None, say, OpenDoor)
    say(f"{server.version.wanted.model} {server.version.wanted.version} is served at port {port}")
    try:
        uvicorn.run(
            server.application, host="0.0.0.0", port=port,  # noqa: S104 behind IAM
            log_level="warning", access_log=False, lifespan="off", server_header=False,
        )  # fmt: skip
    finally:
        server.close()


def check_routes(environment: Mapping[str, str], model: str) -> None:
    """Check that Vertex AI asks where a model answers.

    Raises:
        SettingsError: it asks elsewhere; names the field of the upload with its value.
    """
    for variable, field, route in (
        (HEALTH, "healthRoute", READY),
        (PREDICT, "predictRoute", f"/v2/models/{model}/infer"),
    ):
        if environment.get(variable) != route:
            raise SettingsError(
                f"Vertex AI asks {environment.get(variable)!r} ({variable}), where {model} does not answer",
                hint=f"upload the model with containerSpec.{field} {route}",
            )


def _port(environment: Mapping[str, str]) -> int:
    text = environment.get(PORT, "")
    if not text.isdecimal():
        raise SettingsError(
            f"{PORT} is not set: this is no container of Vertex AI, and nobody would ask its clients who they are",
            hint="perennial cell run envoy, or perennial serve MODEL on this machine",
        )
    return int(text)
