"""Routes of the model repository extension."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from perennial.errors import MalformedInput
from perennial.serving import strict_json
from perennial.serving.access.door import allowed_models
from perennial.serving.answers import Json, flag, read_body
from perennial.serving.protocol.repository import Repository

INDEX = "/v2/repository/index"


class RepositoryRoutes:
    """Handlers; the door has checked that a client has the right."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    @property
    def table(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """Return method, path and handler of each route."""
        model = "/v2/repository/models/{model}"
        return [
            ("POST", INDEX, self.index),
            ("POST", f"{model}/load", self.load),
            ("POST", f"{model}/unload", self.unload),
        ]

    async def index(self, request: Request) -> Response:
        """Return the versions of the models that the client may see."""
        given = strict_json.parse(await read_body(request) or b"{}")
        if not isinstance(given, dict):
            raise MalformedInput("the body is no object", hint='send {"ready": true}, or nothing')
        ready = flag(given, "ready")
        entries = self._repository.index(ready, allowed_models(request.scope))
        return Json([asdict(entry) for entry in entries])

    async def load(self, request: Request) -> Response:
        self._repository.load(request.path_params["model"])
        return Json({})

    async def unload(self, request: Request) -> Response:
        self._repository.unload(request.path_params["model"])
        return Json({})
