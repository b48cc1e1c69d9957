"""The floor: an ASGI function that parses tensors as a model server does, runs the model, and does nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from perennial.serving.desired_state import DesiredVersion
from perennial.serving.manifest import ServedManifest
from perennial.serving.onnx import open_session
from perennial.serving.protocol.inputs import features_of
from perennial.serving.protocol.messages import InferenceResponse
from perennial.serving.protocol.outputs import outputs_of
from perennial.serving.protocol.rest.requests import read_request
from perennial.serving.protocol.rest.responses import respond
from perennial.serving.session import LoadedVersion


def application(folder: Path):
    """Return the ASGI function.

    Args:
        folder: files of a version.
    """
    manifest = ServedManifest.model_validate_json((folder / "manifest.json").read_bytes())
    wanted = DesiredVersion(
        model=manifest.model, version="1.0.0", key="1", digest="0" * 64, capsule="benchmark"
    )
    session = open_session((folder / "model.onnx").read_bytes(), folder / "model.onnx")
    version = LoadedVersion(wanted, manifest, session)

    async def answer(scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        request = read_request(b"".join(parts), {}, wanted.model, "")
        scores = version.score(features_of(request.inputs, manifest))
        response = InferenceResponse(wanted.model, "1.0.0", "", outputs_of(manifest, scores, ()), {})
        await respond(request, response)(scope, receive, send)

    return answer


if __name__ != "__main__":
    app = application(Path(os.environ["VERSION_FOLDER"])) if "VERSION_FOLDER" in os.environ else None
else:
    import uvicorn

    uvicorn.run(
        application(Path(os.environ["VERSION_FOLDER"])),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="error",
        access_log=False,
        lifespan="off",
    )
