"""The way back to an earlier champion: what it was served with, what is checked, what is written down. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.release.traffic import Route, Target
from perennial.core.version import VersionRef


class Seal(Frozen):
    """What a version was gated with, beside its model file: a rollback brings back all of it or nothing.

    The capsule hash says what a version was made of; this says, in parts that can be compared without the
    registry, what it needs around it to answer as it did.
    """

    ref: VersionRef
    manifest: str = Field(description="SHA-256 of manifest.json: input schema, feature list, threshold")
    service: str | None = Field(description="feature service; None: served by tensor only")
    features: dict[str, str] = Field(
        description="feature -> digest of its published definition; empty: nothing was published"
    )


class Check(Frozen):
    """One thing that must hold before traffic goes back."""

    name: str
    ok: bool
    observed: str
    hint: str = ""


class Rollback(Frozen):
    """A rollback on its way into the record; kept beside the traffic until it stands there."""

    id: str
    model: str
    at: AwareDatetime
    actor: str
    note: str = ""
    left: Target = Field(description="who loses the traffic")
    to: Target
    canary_only: bool = Field(description="the champion stays, a canary's share is taken back")
    applied: bool = Field(False, description="the router confirmed it")
    checks: tuple[Check, ...] = ()

    def is_live(self, route: Route | None) -> bool:
        """Whether this route is what the rollback was to bring."""
        return route is not None and route.stable.digest == self.to.digest and route.canary is None


def check_seal(seal: Seal | None, manifest: str) -> Check:
    """Schema, feature list and threshold are the ones that were gated.

    Args:
        manifest: SHA-256 of the manifest that the servers read.
    """
    name = "schema and threshold"
    if seal is None:
        return Check(name=name, ok=True, observed="gated before seals were made: not compared")
    if manifest == seal.manifest:
        return Check(name=name, ok=True, observed="the manifest it was gated with")
    return Check(
        name=name,
        ok=False,
        observed=f"manifest {manifest[:12]}, it was gated with {seal.manifest[:12]}",
        hint="somebody edited manifest.json in the store: restore it from the registry",
    )


def check_features(seal: Seal | None, published: Mapping[str, str]) -> Check:
    """Every feature of the version is still published as it was defined at its gate.

    Features that were added since, or that the version never read, do not matter.

    Args:
        published: feature -> digest of its definition, of the seal's service as it is now.
    """
    name = "features"
    if seal is None:
        return Check(name=name, ok=True, observed="gated before seals were made: not compared")
    if not seal.features:
        return Check(name=name, ok=True, observed="nothing was published when it was gated: not compared")
    gone = sorted(one for one in seal.features if one not in published)
    changed = sorted(
        one for one, digest in seal.features.items() if one in published and published[one] != digest
    )
    if not gone and not changed:
        return Check(name=name, ok=True, observed=f"{len(seal.features)} published as at its gate")
    said = [f"{word}: {', '.join(found)}" for word, found in (("gone", gone), ("changed", changed)) if found]
    return Check(
        name=name,
        ok=False,
        observed="; ".join(said),
        hint=f"publish the definitions that {seal.ref.version} was gated with "
        f"(`perennial features publish {seal.ref.model}` in a checkout of its commit)",
    )
