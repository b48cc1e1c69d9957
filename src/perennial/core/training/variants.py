"""Variants of a version: the same model in another form, registered as PATCH versions of their parent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perennial.core.frozen import canonical
from perennial.core.training.artifacts import ModelManifest, ParameterValue
from perennial.core.training.capsule import Capsule, Provenance
from perennial.core.training.examples import Examples
from perennial.core.training.registration import CHAMPION_DIGEST, REQUESTED_BY, VersionRecord
from perennial.core.version import SemanticVersion

VARIANT_OF, VARIANT_RECIPE, VARIANT_KEY = "variant.of", "variant.recipe", "variant.key"
"""Version tags: digest of the parent, name of the recipe, and hash of everything that the variant is made from."""
KEPT_TAGS = (
    "architecture",
    "code",
    "data.revision",
    "data.source",
    "data_checks",
    "features_hash",
    "holdout_from",
)
"""Tags of the parent that hold for its variants: they are made from its training and its data."""
BATCHES = (1, 64)
"""Rows of the requests whose latency is compared."""


class NotMade(Exception):
    """A recipe makes nothing of this parent, or not on this machine; the text says why."""


@dataclass(frozen=True)
class Lessons:
    """Rows of the parent's training: a variant learns from the rows that its parent learnt from, and no others."""

    learn: Examples
    validation: Examples
    """The later ones of them."""
    training: Examples
    """All of them."""


@dataclass(frozen=True)
class Recipe:
    """A way to make a variant; `convert` works on the file of the parent, `learn` on the parent trained again."""

    name: str
    settings: Mapping[str, ParameterValue]
    """Everything beside the parent that changes the result, versions of libraries included."""
    convert: Callable[[Path, np.ndarray, Path], None] | None = None
    """Model file of the parent, features of training rows, file to write."""
    learn: Callable[[Any, Lessons, int], Any] | None = None
    """Parent, rows, epochs of the parent -> the smaller model (`perennial.models.base.Model`)."""
    absent: str = ""
    """Reason why it cannot be made here."""
    provider: str | None = None
    """Execution provider that alone may run the variant; None: any."""


def is_variant(tags: Mapping[str, str]) -> bool:
    """Return whether the version with these tags was made of another version."""
    return VARIANT_OF in tags


def variant_key(parent: str, recipe: Recipe, spec: str) -> str:
    """Return a hash that is the same for the same parent, recipe and spec.

    Args:
        parent: its digest. spec: `variant_digest` of the spec.
    """
    content = {"of": parent, "recipe": recipe.name, "settings": dict(recipe.settings), "spec": spec}
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def variant_capsule(
    parent: VersionRecord, capsule: Capsule, recipe: Recipe, spec: str, provenance: Provenance, model: str
) -> Capsule:
    """Return the lineage of a variant.

    Args:
        capsule: of the parent; spec: digest of the spec today; model: SHA-256 of the file of the variant.
    """
    made = {
        VARIANT_OF: parent.ref.digest,
        VARIANT_RECIPE: recipe.name,
        **{f"{recipe.name}.{name}": value for name, value in recipe.settings.items()},
    }
    return capsule.model_copy(
        update={
            "code": provenance.code,
            "constraints": provenance.constraints,
            "spec": spec,
            "parameters": {**capsule.parameters, **made},
            "model": model,
        }
    )


def variant_tags(
    parent: VersionRecord,
    recipe: Recipe,
    spec: str,
    key: str,
    manifest: ModelManifest,
    champion: str,
    figures: str,
    actor: str,
) -> dict[str, str]:
    """Return the tags of a variant.

    Args:
        spec: digest of the spec today.
        key: see `variant_key`.
        champion: digest of the champion that it was compared with.
        figures: hash of its figures.
        actor: account that asked for it, which may not approve its release.
    """
    return {
        **{name: parent.tags[name] for name in KEPT_TAGS if name in parent.tags},
        CHAMPION_DIGEST: champion,
        "figures_hash": figures,
        "framework": manifest.framework,
        "model.bytes": str(manifest.bytes),
        "model.input": f"{manifest.input}: float32 [batch, {len(manifest.features)}]",
        "model.output": f"{manifest.output}: float32 {manifest.task.shape}, {manifest.task.kind}",
        "model.parameters": str(manifest.parameters),
        "reason": "variant",
        "reason.text": f"{recipe.name} of {parent.ref.version}",
        "spec": spec,
        VARIANT_OF: parent.ref.digest,
        VARIANT_RECIPE: recipe.name,
        VARIANT_KEY: key,
        REQUESTED_BY: actor,
    }


def may_replace(candidate: VersionRecord | None, parent: VersionRecord) -> bool:
    """Return whether a variant of the parent may take the alias of the candidate: not that of a later training."""
    if candidate is None:
        return True
    known, own = (SemanticVersion.parse(record.ref.version).key[:2] for record in (candidate, parent))
    return known <= own
