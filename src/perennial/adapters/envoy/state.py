"""The routes that Envoy took, as a file: what its own files are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perennial.core.release.traffic import Route
from perennial.errors import RouterRejected
from perennial.files import write_bytes


@dataclass(frozen=True)
class ConfirmedRoutes:
    """Every confirmed route by model, and how many changes there were."""

    generation: int = 0
    routes: Mapping[str, Route] = field(default_factory=dict)

    def with_route(self, route: Route) -> ConfirmedRoutes:
        return ConfirmedRoutes(self.generation + 1, {**self.routes, route.model: route})


def read(path: Path) -> ConfirmedRoutes:
    """An absent file is a router that has no routes yet.

    Raises:
        RouterRejected: the file is not readable as routes.
    """
    try:
        body = json.loads(path.read_bytes())
        routes = {name: Route.model_validate(one) for name, one in body["routes"].items()}
        return ConfirmedRoutes(body["generation"], routes)
    except FileNotFoundError:
        return ConfirmedRoutes()
    except (ValueError, KeyError, TypeError) as error:
        raise RouterRejected(
            f"{path} is not readable: {error}", hint="restore it, or remove it and reconcile the releases"
        ) from error


def write(path: Path, state: ConfirmedRoutes) -> None:
    routes = {name: one.model_dump(mode="json") for name, one in sorted(state.routes.items())}
    body = {"generation": state.generation, "routes": routes}
    write_bytes(path, json.dumps(body, indent=1).encode() + b"\n")
