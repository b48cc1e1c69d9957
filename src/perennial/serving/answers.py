"""JSON bodies of requests and answers, and errors as JSON with their HTTP status."""

from __future__ import annotations

import reprlib
import zlib
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from perennial import limits
from perennial.errors import BodyTooLarge, MalformedInput, PerennialError
from perennial.serving import strict_json

RETRY_AFTER_SECONDS = "5"
ENCODING = "content-encoding"
COMPRESSIONS = ("gzip", "deflate")
GZIP_OR_ZLIB = 32
"""Added to zlib's window size: the header of the content says which of the two it is."""


class Json(Response):
    """A response with a JSON body; NumPy arrays are lists of numbers.

    It sets what Starlette's response sends, without its handling of charsets and of headers that may be given twice.
    """

    background = None

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status_code = status_code
        self.body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
        ]
        if headers:
            self.raw_headers += [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def problem(error: PerennialError | OSError) -> tuple[int, str, str]:
    """Return the HTTP status, the message and the hint; an OSError means that the log cannot be written."""
    if isinstance(error, OSError):
        return 503, f"cannot write: {error}", "check the free space of the disk"
    return error.http_status, error.message, error.hint


def refusal(error: PerennialError | OSError) -> Json:
    """Return the response for an error."""
    status, message, hint = problem(error)
    later = {"retry-after": RETRY_AFTER_SECONDS} if status == 429 else None
    return Json({"error": message, "hint": hint}, status_code=status, headers=later)


async def read_json(request: Request) -> Any:
    """Parse the body as JSON.

    Raises:
        BodyTooLarge: the body is larger than allowed; the rest of it is not read.
        MalformedInput: the body is not JSON, has a key twice, or is nested too deeply.
    """
    return strict_json.parse(await read_body(request))


async def read_body(request: Request) -> bytes:
    """Read the body up to the limit, even when its declared length is wrong or missing, as it was before compression.

    Raises:
        BodyTooLarge: it is larger than allowed.
        MalformedInput: it is not compressed as its header says.
    """
    whole: bytes | None = getattr(request, "whole", None)
    body = await _received(request) if whole is None else whole
    encoding = request.headers.get(ENCODING)
    return body if encoding is None else _decompressed(body, encoding.strip().lower())


async def _received(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > limits.LENGTH_DIGITS or int(declared) > limits.BODY_BYTES):
        raise too_large()
    parts, size = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limits.BODY_BYTES:
            raise too_large()
        if not message.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return body
    if encoding not in COMPRESSIONS:
        raise MalformedInput(
            f"the encoding of the body is {brief(encoding)}",
            hint=f"known: {', '.join(COMPRESSIONS)}, identity",
        )
    stream = zlib.decompressobj(zlib.MAX_WBITS | GZIP_OR_ZLIB)
    try:
        content = stream.decompress(body, limits.BODY_BYTES + 1)
    except zlib.error as error:
        raise MalformedInput(f"the body is no {encoding}: {error}", hint="send it as it is") from error
    if len(content) > limits.BODY_BYTES:
        raise too_large()
    if not stream.eof or stream.unused_data:
        raise MalformedInput(f"the body is not one whole {encoding}", hint="send it as it is")
    return content


def too_large() -> BodyTooLarge:
    """Return the error for a body beyond the limit."""
    return BodyTooLarge(
        f"the body has more than {limits.BODY_BYTES} bytes", hint="send fewer rows or labels per request"
    )


def brief(value: Any) -> str:
    """Return a short text of a value of a client for an error message."""
    return reprlib.repr(value)


def flag(body: dict[str, Any], name: str) -> bool:
    """Return a value of the body that may be true or false; false where it is left out."""
    given = body.get(name, False)
    if not isinstance(given, bool):
        raise MalformedInput(f"{name} is {brief(given)}", hint="true or false")
    return given


async def no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return Json(
        {"error": f"no route {request.method} {request.url.path}", "hint": "see /v2 and /v1/pool"},
        status_code=status,
        headers=getattr(error, "headers", None),
    )
