"""JSON bodies of requests and answers, and errors as JSON with their HTTP status."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from perennial.errors import MalformedInput, PerennialError

MAX_BODY_BYTES = 16 * 1024 * 1024
RETRY_AFTER_SECONDS = "5"


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def refusal(error: PerennialError | OSError) -> Json:
    """Return the response for an error; an OSError means that the log cannot be written."""
    if isinstance(error, OSError):
        return Json(
            {"error": f"cannot write: {error}", "hint": "check the free space of the disk"}, status_code=503
        )
    status = error.http_status
    later = {"retry-after": RETRY_AFTER_SECONDS} if status == 429 else None
    return Json({"error": error.message, "hint": error.hint}, status_code=status, headers=later)


async def read_json(request: Request) -> Any:
    """Parse the body as JSON.

    Raises:
        MalformedInput: the body is not JSON or too large.
    """
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise MalformedInput(
            f"the body has {len(body)} bytes", hint=f"at most {MAX_BODY_BYTES}; send fewer rows"
        )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"the body is not JSON: {error}", hint="send application/json") from error


async def no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return Json(
        {"error": f"no route {request.method} {request.url.path}", "hint": "see /v2 and /v1/pool"},
        status_code=status,
    )
