"""The capsule, which is the lineage fingerprint of a version, and the seal that an approval covers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import Field

from perennial.core.frozen import Frozen


def seal(capsule: str, files: Mapping[str, str]) -> str:
    """Return a hash over everything that an approval covers; any change gives another seal.

    Args:
        capsule: hash of the version's capsule: code, data, feature views, spec, parameters, constraints.
        files: file of the version -> SHA-256.
    """
    text = json.dumps([capsule, dict(sorted(files.items()))], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Provenance(Frozen):
    """Code, feature definitions and packages that a training starts from."""

    code: str = Field(description="git commit of the project, '+dirty' if it had changes; ' on ' the package")
    features: str = Field(description="hash over the Feast feature-view definitions")
    constraints: str = Field(description="SHA-256 of constraints.txt")
    model_code: str = Field(description="SHA-256 of the module of the model and of its template")


class Capsule(Frozen):
    """Lineage fingerprint: everything that changes the result of a training. Same capsule, same model."""

    code: str = Field(description="git commit of the project, '+dirty' if it had changes; ' on ' the package")
    data: dict[str, str] = Field(description="file -> DVC md5")
    source: str = Field(description="name of the data's source; a simulated history says so")
    features: str = Field(description="hash over the Feast feature-view definitions")
    spec: str = Field(description="digest of the model spec")
    parameters: dict[str, str | int | float | bool]
    constraints: str = Field(description="SHA-256 of constraints.txt")
    model: str = Field(description="SHA-256 of the served file")

    @property
    def hash(self) -> str:
        """Return the SHA-256 (hex) of the content."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
