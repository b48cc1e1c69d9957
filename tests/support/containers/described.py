"""Containers as docker/Dockerfile, docker/compose.yaml and the manifests in deploy/ describe them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker" / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


@dataclass(frozen=True)
class Container:
    """What an engine needs to start it and to ask for its health."""

    name: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    health: tuple[str, ...] = ()
    exposed: tuple[int, ...] = ()


def stages(path: Path = DOCKERFILE) -> dict[str, Container]:
    """Return the container of each stage of a Dockerfile: its instructions over those of the stage that it is from."""
    found: dict[str, Container] = {}
    entrypoints: dict[str, tuple[str, ...]] = {}
    name = ""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M)
    for line in text.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = replace(found.get(parent, Container(name)), name=name)
            entrypoints[name] = entrypoints.get(parent, ())
        elif instruction == "ENV":
            pairs = dict(part.partition("=")[::2] for part in shlex.split(rest))
            found[name] = replace(found[name], environment={**found[name].environment, **pairs})
        elif instruction == "USER":
            found[name] = replace(found[name], user=rest)
        elif instruction == "EXPOSE":
            found[name] = replace(found[name], exposed=tuple(map(int, rest.split())))
        elif instruction == "ENTRYPOINT":
            entrypoints[name] = tuple(json.loads(rest))
        elif instruction == "CMD":
            found[name] = replace(found[name], command=(*entrypoints[name], *json.loads(rest)))
        elif instruction == "HEALTHCHECK":
            _, _, asked = rest.partition("CMD ")
            found[name] = replace(found[name], health=tuple(json.loads(asked)) if asked else ())
    return found


def compose() -> dict[str, Any]:
    """Return the compose file with the defaults of its variables."""
    return yaml.safe_load(VARIABLE.sub(lambda match: match[2], COMPOSE.read_text()))


def service(name: str, *arguments: str) -> Container:
    """Return the container of a service: what the compose file says over what its image says."""
    body, entrypoint = compose()["services"][name], ("perennial",)
    image = stages()[body["build"]["target"]]
    check = body.get("healthcheck", {})
    health = () if check.get("disable") else check.get("test", ["CMD", *image.health])
    return replace(
        image, name=name, user=body["user"], health=tuple(health[1:]),
        command=(*body.get("entrypoint", entrypoint), *(arguments or body.get("command", ()))),
        environment={**image.environment, **body.get("environment", {})},
    )  # fmt: skip


def pod_containers(pod: Mapping[str, Any]) -> Iterator[Container]:
    """Yield the containers of a pod, without those that prepare it."""
    images = stages()
    for body in pod["containers"]:
        image = images[body["image"].rpartition("/")[2].partition(":")[0]]
        probe = body.get("readinessProbe", body.get("startupProbe", {}))
        yield replace(
            image, name=body["name"], command=("perennial", *body["args"]),
            user=str(pod["securityContext"]["runAsUser"]), health=tuple(probe.get("exec", {}).get("command", ())),
            environment={
                **image.environment,
                **{entry["name"]: entry["value"] for entry in body["env"] if "value" in entry},
            },
        )  # fmt: skip
