"""The file of confirmed routes; Envoy's own files are generated from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from perennial.core.release.traffic import Route
from perennial.errors import RouterRejected
from perennial.files import write_bytes


@dataclass(frozen=True)
class ConfirmedRoutes:
    """The confirmed route of every model, and the number of changes."""

    generation: int = 0
    routes: Mapping[str, Route] = field(default_factory=dict)

    def with_route(self, route: Route) -> ConfirmedRoutes:
        return ConfirmedRoutes(self.generation + 1, {**self.routes, route.model: route})


def read(path: Path) -> ConfirmedRoutes:
    """Read the routes; an absent file means no routes yet.

    Raises:
        RouterRejected: the file cannot be read as routes.
    """
    try:
        return _parsed(path.read_bytes())
    except FileNotFoundError:
        return ConfirmedRoutes()
    except (ValueError, KeyError, TypeError) as error:
        raise RouterRejected(
            f"{path} cannot be read: {error}", hint="restore it, or remove it and reconcile the releases"
        ) from error


@lru_cache(maxsize=2)
def _parsed(content: bytes) -> ConfirmedRoutes:
    """Return the routes in the content of a file: who asks for each of a thousand models parses it once."""
    body = json.loads(content)
    routes = {name: Route.model_validate(route) for name, route in body["routes"].items()}
    return ConfirmedRoutes(body["generation"], MappingProxyType(routes))


def write(path: Path, state: ConfirmedRoutes) -> None:
    routes = {name: route.model_dump(mode="json") for name, route in sorted(state.routes.items())}
    body = {"generation": state.generation, "routes": routes}
    write_bytes(path, json.dumps(body, indent=1).encode() + b"\n")
