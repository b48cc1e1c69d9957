"""The floor: an ASGI function that parses tensors as a model server does, runs the model, and does nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from perennial.serving import tensors
from perennial.serving.desired_state import DesiredVersion
from perennial.serving.manifest import ServedManifest
from perennial.serving.onnx import open_session
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
        scores = version.score(tensors.read_features(orjson.loads(b"".join(parts)), version))
        content = orjson.dumps(tensors.answer(version, scores, None, {}), option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

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
