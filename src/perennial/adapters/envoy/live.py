"""Comparison of the configuration that Envoy holds with the configuration that it should hold."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

from perennial.adapters.envoy.config import Address, Json

DEFAULTS: dict[str, Any] = {
    "append_action": "APPEND_IF_EXISTS_OR_ADD",
    "codec_type": "AUTO",
    "denominator": "HUNDRED",
    "priority": 0,
    "request_headers_to_add": [],
    "unix_sockets": False,
}
"""Values that Envoy leaves out of its dump, by key."""

SHOWN = ("weight", "name", "address", "port_value", "path", "cluster")
"""Keys whose values a difference shows; other values may be secret."""

REDACTED = "[redacted]"
"""Envoy's text in place of where a private key comes from, which cannot be compared."""

_DURATION = re.compile(r"\d+(\.\d+)?s")


def differences(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """Yield a text per place where the live configuration is not the wanted configuration."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        wanted, live = _without_defaults(wanted), _without_defaults(live)
        for key in sorted(wanted.keys() | live.keys()):
            if key not in live:
                yield f"{path}.{key} is missing"
            elif key not in wanted:
                yield f"{path}.{key} is added"
            else:
                yield from differences(wanted[key], live[key], f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(live, list):
        if len(wanted) != len(live):
            yield f"{path} has {len(live)} entries instead of {len(wanted)}"
            return
        for number, (entry, held) in enumerate(zip(wanted, live, strict=True)):
            yield from differences(entry, held, f"{path}[{number}]")
    elif live != REDACTED and _plain(wanted) != _plain(live):
        shown = path.rsplit(".", 1)[-1] in SHOWN
        yield f"{path} is {live!r} instead of {wanted!r}" if shown else f"{path} is another value"


def unreachable(listen: Address) -> str:
    """Return why clients cannot connect to the public listener, or an empty text."""
    host, port = listen
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 compared, not bound
    try:
        socket.create_connection((host, port), timeout=2).close()
    except ConnectionRefusedError:
        return f"the public listener {host}:{port} is closed"
    except OSError as error:
        return f"the public listener {host}:{port}: {error}"
    return ""


def by_name(resources: list[Json]) -> dict[str, Json]:
    return {resource["name"]: resource for resource in resources}


def _without_defaults(content: Json) -> Json:
    return {key: value for key, value in content.items() if key not in DEFAULTS or DEFAULTS[key] != value}


def _plain(value: Any) -> Any:
    """Return a scalar in one form: Envoy writes long integers as text and durations with three digits."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return float(value[:-1])
    return value
