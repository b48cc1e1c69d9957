"""Make variants of a registered version, compare each with it, register what passes the gate, propose the fastest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from perennial.core.evaluation.imported_record import again
from perennial.core.evaluation.variant_figures import VariantFigures
from perennial.core.recalibration.attempt import RECALIBRATION_OF, is_recalibrated
from perennial.core.spec import ModelSpec
from perennial.core.training.imported import is_imported
from perennial.core.training.registration import VersionRecord
from perennial.core.training.variants import (
    VARIANT_KEY,
    VARIANT_OF,
    NotMade,
    Recipe,
    is_variant,
    may_replace,
    variant_key,
)
from perennial.core.version import VersionRef
from perennial.errors import DatasetMissing, MalformedInput, NotOptimisable, SpecError
from perennial.flows.evaluation.parent_version import ParentVersion, VariantPorts, open_parent
from perennial.flows.evaluation.variant import FIGURES, Outcome, add_variant
from perennial.flows.training.workdir import read_record
from perennial.flows.versions import find_version
from perennial.ports import Labels

POLICY = "variants: {agreement: 0.99, quality_drop: 0.005}"


def optimise(
    spec: ModelSpec,
    which: str,
    recipes: Sequence[Recipe],
    ports: VariantPorts,
    labels: Labels,
    actor: str,
    say: Callable[[str], None],
) -> tuple[VersionRecord, list[Outcome], VersionRef | None]:
    """Make a variant by each recipe.

    A variant that an earlier call has registered is not made again: the same parent, recipe and keys of the spec that
    it depends on are the same version. So the same call after a kill goes on where it stopped.

    Args:
        which: semantic version or alias of the parent.
        actor: account that asks, which may not approve the release of a variant.

    Returns:
        The parent, the outcome of each recipe, and the version that is proposed: the fastest that passed and is proven
        to be faster than its parent. None where none is, or where a later training is the candidate.

    Raises:
        UnknownVersion: the registry has no such version.
        SpecError: the spec says nothing about variants, or names other features than the version has.
        NotOptimisable: the version is imported, a recalibration, or itself a variant.
        ModelFileError, DatasetMissing, ChecksumMismatch: capsule or data of its training are not there any more.
    """
    refuse_without_policy(spec)
    parent = find_version(spec.name, which, ports.registry)
    refuse(parent)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as aside:
        opened: ParentVersion | None = None
        for number, recipe in enumerate(recipes, 1):
            heading = f"{number}/{len(recipes)} {recipe.name}"
            known = _registered(spec, parent, recipe, ports)
            if known is not None:
                say(f"{heading}: made before as {known.ref}")
                outcomes.append(Outcome(recipe.name, _figures(known, ports), known.ref))
                continue
            say(f"{heading}: ...")
            if opened is None:
                opened = open_parent(spec, parent, ports, Path(aside))
            folder = Path(aside) / recipe.name
            folder.mkdir()
            try:
                outcome = add_variant(spec, opened, recipe, ports, actor, folder, say)
            except NotMade as reason:
                outcome = Outcome(recipe.name, not_made=str(reason))
            say(f"{heading}: {outcome.words}")
            outcomes.append(outcome)
    return parent, outcomes, _propose(spec, parent, outcomes, ports, labels)


def refuse_without_policy(spec: ModelSpec) -> None:
    """Check that the spec says how far a variant may be from its parent; there is no default for that.

    Raises:
        SpecError: it does not.
    """
    if spec.gate.variants is None:
        raise SpecError(
            f"{spec.name}: gate.variants is missing: nothing says how far a variant may be from its parent",
            hint=f"decide it in the spec, below `gate`; an example: {POLICY}",
        )


def refuse(parent: VersionRecord) -> None:
    """Refuse what no variant is made of.

    Raises:
        NotOptimisable: the version is imported, a recalibration, or itself a variant.
    """
    if is_imported(parent.tags):
        raise NotOptimisable(
            f"{parent.ref} is imported: the rows that it learnt from are not here to calibrate or teach with",
            hint="convert it where it was trained, and import the result",
        )
    if is_recalibrated(parent.tags):
        raise NotOptimisable(
            f"{parent.ref} is a recalibration: the rows of its training do not judge it",
            hint=f"optimise the version with its weights, {parent.tags[RECALIBRATION_OF][:12]}, then recalibrate that",
        )
    if is_variant(parent.tags):
        raise NotOptimisable(
            f"{parent.ref} is itself a variant ({parent.tags.get('reason.text')})", hint="optimise its parent"
        )


def _registered(
    spec: ModelSpec, parent: VersionRecord, recipe: Recipe, ports: VariantPorts
) -> VersionRecord | None:
    """Return the variant that an earlier call has made; what a kill left out of its registration is done now."""
    key = variant_key(parent.ref.digest, recipe, spec.variant_digest)
    for record in ports.registry.versions(spec.name):
        if record.tags.get(VARIANT_OF) == parent.ref.digest and record.tags.get(VARIANT_KEY) == key:
            ports.registry.register(again(record).model_copy(update={"candidate": False}))
            return record
    return None


def _figures(record: VersionRecord, ports: VariantPorts) -> VariantFigures | None:
    """Return the figures that the run of a variant keeps; None where its files were deleted."""
    with tempfile.TemporaryDirectory() as folder:
        ports.tracker.files(record.run_id, "", Path(folder))
        try:
            return read_record(Path(folder) / FIGURES, VariantFigures, "optimise")
        except (DatasetMissing, MalformedInput):
            return None


def _propose(
    spec: ModelSpec, parent: VersionRecord, outcomes: Sequence[Outcome], ports: VariantPorts, labels: Labels
) -> VersionRef | None:
    """Give the alias `candidate` to the fastest variant, as a training gives it to its model."""
    faster = {each.figures.mean_ratio: each.version for each in outcomes
              if each.version is not None and each.figures is not None and each.figures.is_faster}  # fmt: skip
    proposed = faster[min(faster)] if faster else None
    if proposed is None or not may_replace(ports.registry.find(spec.name, "candidate"), parent):
        return None
    labels.alias(spec.name, "candidate", proposed.key)
    return proposed
