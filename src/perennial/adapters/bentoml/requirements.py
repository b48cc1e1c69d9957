"""The packages of a model server with their installed versions (importlib.metadata, packaging)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from perennial.errors import PackageMissing

OF_SERVER = (
    "bentoml", "click", "cryptography", "filelock", "grpcio", "grpcio-health-checking", "httptools", "msgspec",
    "numpy", "onnx", "onnxruntime", "opentelemetry-api", "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-sdk", "orjson", "packaging", "prometheus-client", "protobuf", "pydantic", "pyyaml", "shap",
    "starlette", "uvicorn", "uvloop",
)  # fmt: skip
"""Packages that a model server imports; training, registry and orchestration have no part in it."""
OF_FEATURES = ("feast[duckdb]",)
"""Packages that it imports besides for a version that reads the online store."""


def pinned(needed: Iterable[str]) -> list[str]:
    """Return `name==version` of packages and all that they need, as they are installed here.

    Args:
        needed: requirements, such as `feast[duckdb]`.

    Raises:
        PackageMissing: a package is not installed.
    """
    waiting = [_named(Requirement(text)) for text in needed]
    seen: set[tuple[str, str]] = set()
    pins = {}
    while waiting:
        name, extras = waiting.pop()
        try:
            package = distribution(name)
        except PackageNotFoundError as error:
            raise PackageMissing(f"the package {name} is not installed", hint="run `make setup`") from error
        pins[name] = package.version
        for extra in ("", *extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            lines = map(Requirement, package.requires or ())
            waiting += [
                _named(line)
                for line in lines
                if (line.marker.evaluate({"extra": extra}) if line.marker is not None else not extra)
            ]
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _named(requirement: Requirement) -> tuple[str, tuple[str, ...]]:
    return canonicalize_name(requirement.name), tuple(sorted(requirement.extras))
