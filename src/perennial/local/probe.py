"""Ask a process of this machine whether it is ready: `python -m perennial.local.probe URL`.

A health check runs every few seconds in every container, so this imports the standard library only.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
USAGE = (
    "usage: python -m perennial.local.probe tcp://HOST:PORT|http[s]://HOST:PORT/PATH [--bearer FILE] [--part NAME] "
    "[--identity FOLDER]"
)
OPTIONS = {"--bearer", "--part", "--identity"}


def problem(url: str, bearer: Path | None = None, part: str = "", identity: Path | None = None) -> str:
    """Return why the process is not ready, or an empty text.

    Args:
        url: `tcp://` for a process that has to accept connections, `http://` for one that has to answer 200,
            `https://` for one with TLS inside the plant.
        bearer: file with the text of a bearer token.
        part: part of Airflow whose state the answer must call healthy.
        identity: folder of the certificate to show (tls.crt, tls.key, ca.crt); with `https://`.
    """
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 0
    try:
        if address.scheme == "tcp":
            socket.create_connection((host, port), TIMEOUT_S).close()
            return ""
        headers = {} if bearer is None else {"authorization": f"Bearer {bearer.read_text()}"}
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        if address.scheme == "https":
            connection = http.client.HTTPSConnection(
                host, port, timeout=TIMEOUT_S, context=_context(identity)
            )
        connection.request("GET", address.path or "/", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            return f"{url} answers {answer.status}"
        state = (json.loads(body).get(part) or {}).get("status") if part else "healthy"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{url}: {error}"
    return "" if state == "healthy" else f"{part} is {state or 'not there yet'}"


def _context(identity: Path | None) -> ssl.SSLContext:
    if identity is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=identity / "ca.crt")
    context.load_cert_chain(identity / "tls.crt", identity / "tls.key")
    return context


def main(arguments: Sequence[str]) -> int:
    """Return 0 where the process is ready, 1 where it is not, 2 where the arguments cannot be read."""
    url, *options = arguments or ("",)
    given = dict(zip(options[::2], options[1::2], strict=False))
    if urlsplit(url).scheme not in ("tcp", "http", "https") or len(options) % 2 or set(given) - OPTIONS:
        print(USAGE, file=sys.stderr)
        return 2
    bearer, identity = (
        None if name not in given else Path(given[name]) for name in ("--bearer", "--identity")
    )
    reason = problem(url, bearer, given.get("--part", ""), identity)
    if reason:
        print(reason, file=sys.stderr)
    return int(bool(reason))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
