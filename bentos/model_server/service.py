"""The generic model server as a BentoML service: any number of models, any number of versions.

BentoML runs and packages the process; the routes are those of `perennial.serving.app`. They are put in
front of BentoML's own (as middleware) and not behind them (as a mount): /livez, /readyz and /metrics are
then ours and speak of versions, and a request skips what BentoML does for its typed endpoints.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import bentoml
import uvicorn

from perennial import settings as environment
from perennial.serving.bento import parts_of_process

parts = parts_of_process(environment.load(), Path(__file__).parent)
# BentoML's worker configures uvicorn after it has loaded this module, and has no setting for these.
uvicorn.Config = partial(uvicorn.Config, **parts.uvicorn_settings())


class Front:
    """ASGI middleware that answers every HTTP request; lifespan events go on to BentoML.

    With the first event of the lifespan it moves to the front of BentoML's own middleware, which costs a request as
    much as our routes: tracing, although it is off, and a timer of 30 s for each request that outlives the request.
    """

    def __init__(self, app) -> None:
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            scope["app"].middleware_stack = Front(scope["app"].middleware_stack)
        app = parts.application if scope["type"] == "http" else self._app
        await app(scope, receive, send)


@bentoml.service(
    name="model_server",
    workers=1,
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # Every request passes BentoML's tracing before it reaches our routes; excluded, it goes straight on.
    tracing={"excluded_urls": ".*"},
)
class ModelServer:
    """One process of a pool (PERENNIAL_POOL), or of a bento with its versions."""

    @bentoml.on_startup
    async def start(self) -> None:
        await parts.start()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await parts.stop()


ModelServer.add_asgi_middleware(Front)
