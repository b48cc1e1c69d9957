"""Pack versions of the registry into a bento."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perennial.core.version import VersionRef
from perennial.errors import UsageError
from perennial.flows.versions import find_version
from perennial.ports import BentoBuilder, Registry


def build_bento(
    names: Sequence[str], registry: Registry, builder: BentoBuilder
) -> tuple[str, Path, list[VersionRef]]:
    """Build a bento; returns its tag, its folder and its versions.

    Args:
        names: MODEL for the champion, or MODEL:VERSION.

    Raises:
        UnknownVersion: the registry has no such version. UsageError: a model is named twice.
        NotSigned: no trusted key signed the files of a version.
    """
    versions = []
    for name in names:
        model, _, which = name.partition(":")
        versions.append(find_version(model, which or "champion", registry).ref)
    models = [ref.model for ref in versions]
    if twice := sorted({model for model in models if models.count(model) > 1}):
        raise UsageError(
            f"{', '.join(twice)} is named twice",
            hint="a bento serves one version of a model, without a router",
        )
    tag, folder = builder.build(versions, registry.fetch)
    return tag, folder, versions
