"""The OpenAPI document of the routes, and a page on which a person tries them in the browser.

The page is Swagger UI, whose files come with BentoML: nothing is loaded from another origin.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

import yaml
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from perennial.errors import PackageMissing
from perennial.installation import SHIPPED

DOCUMENT = SHIPPED / "docs" / "openapi.yaml"
ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Perennial model server</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
START = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null, tryItOutEnabled: true,
});
"""


async def document(request: Request) -> Response:
    """Answer with the OpenAPI document as JSON."""
    return Response(_document(), media_type="application/json", headers=POLICY)


async def page(request: Request) -> Response:
    return Response(PAGE, media_type="text/html", headers=POLICY)


async def start(request: Request) -> Response:
    return Response(START, media_type="text/javascript", headers=POLICY)


async def asset(request: Request) -> Response:
    """Answer with a file of Swagger UI."""
    name = request.path_params["name"]
    if name not in ASSETS:
        return Response(status_code=404)
    return FileResponse(_swagger_ui() / name, media_type=ASSETS[name], headers=POLICY)


TABLE: tuple[tuple[str, str, Callable[[Request], Awaitable[Response]]], ...] = (
    ("GET", "/openapi.json", document),
    ("GET", "/docs", page),
    ("GET", "/docs/start.js", start),
    ("GET", "/docs/{name}", asset),
)
"""Method, path and handler of each route."""


@cache
def _document() -> bytes:
    return json.dumps(yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))).encode()


@cache
def _swagger_ui() -> Path:
    """Return the folder of the files, without an import of BentoML, which takes a second.

    Raises:
        PackageMissing: this BentoML has no such folder.
    """
    spec = importlib.util.find_spec("bentoml")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(place) / "_internal" / "server" / "static_content"
        if all((folder / name).is_file() for name in ASSETS):
            return folder
    raise PackageMissing("the installed BentoML has no Swagger UI", hint="install the tested pins")
