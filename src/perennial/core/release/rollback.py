"""An emergency rollback to an earlier champion: its seal, its checks and its record, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.release.traffic import Route, Target
from perennial.core.version import VersionRef


class Seal(Frozen):
    """Manifest and features that a version was gated with: a rollback brings back all of it or nothing.

    The capsule hash identifies what a version was made of; the seal identifies, in parts that can be compared
    without the registry, what it needs around it to give the same answers.
    """

    ref: VersionRef
    manifest: str = Field(description="SHA-256 of manifest.json: input schema, feature list, task")
    service: str | None = Field(description="feature service; None: served by tensor only")
    features: dict[str, str] = Field(
        description="feature -> digest of its published definition; empty: nothing was published"
    )


class Check(Frozen):
    """Condition that must hold before traffic goes back."""

    name: str
    ok: bool
    observed: str
    hint: str = ""


class Rollback(Frozen):
    """Rollback that is not on record yet; the journal keeps it until it is."""

    id: str
    model: str
    at: AwareDatetime
    actor: str
    note: str = ""
    left: Target = Field(description="target that loses the traffic")
    to: Target
    canary_only: bool = Field(description="the champion stays, only a canary's share is taken back")
    applied: bool = Field(False, description="the router confirmed it")
    checks: tuple[Check, ...] = ()
    forced: str = Field("", description="why failed checks were overruled; empty: none failed")

    def is_live(self, route: Route | None) -> bool:
        """Return whether this route is the goal of the rollback."""
        return route is not None and route.stable.digest == self.to.digest and route.canary is None


def check_seal(seal: Seal | None, manifest: str) -> Check:
    """Check that schema, feature list and threshold are those that were gated.

    Args:
        seal: None where no gate on this machine sealed the files.
        manifest: SHA-256 of the manifest that the servers read.
    """
    name = "schema and threshold"
    if seal is None:
        return Check(name=name, ok=True, observed="no seal on this machine: not compared")
    if manifest == seal.manifest:
        return Check(name=name, ok=True, observed="the manifest it was gated with")
    return Check(
        name=name,
        ok=False,
        observed=f"manifest {manifest[:12]}, it was gated with {seal.manifest[:12]}",
        hint="somebody edited manifest.json in the store: restore it from the registry",
    )


def check_features(seal: Seal | None, published: Mapping[str, str]) -> Check:
    """Check that every feature of the version is still published as it was defined at its gate.

    Features that were added since, or that the version never read, do not matter.

    Args:
        seal: None where no gate on this machine sealed the files.
        published: feature -> digest of its current definition in the seal's service.
    """
    name = "features"
    if seal is None:
        return Check(name=name, ok=True, observed="no seal on this machine: not compared")
    if not seal.features:
        return Check(name=name, ok=True, observed="nothing was published when it was gated: not compared")
    gone = sorted(feature for feature in seal.features if feature not in published)
    changed = sorted(
        feature
        for feature, digest in seal.features.items()
        if feature in published and published[feature] != digest
    )
    if not gone and not changed:
        return Check(name=name, ok=True, observed=f"{len(seal.features)} published as at its gate")
    problems = (("gone", gone), ("changed", changed))
    return Check(
        name=name,
        ok=False,
        observed="; ".join(f"{problem}: {', '.join(names)}" for problem, names in problems if names),
        hint=f"publish the definitions that {seal.ref.version} was gated with "
        f"(`perennial features publish {seal.ref.model}` in a checkout of its commit)",
    )
