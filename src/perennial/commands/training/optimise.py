"""`perennial optimise`: make variants of a version, measure and gate them, propose the fastest."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from perennial import catalog
from perennial.commands.identity import actor
from perennial.commands.output import JSON, now, print_json, print_table, print_text
from perennial.errors import UsageError
from perennial.settings import load

if TYPE_CHECKING:
    from perennial.core.spec import ModelSpec
    from perennial.core.training.registration import VersionRecord
    from perennial.core.version import VersionRef
    from perennial.flows.evaluation.variant import Outcome


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--recipe", "chosen", multiple=True, help="Make only this variant; repeatable.  [default: all]")
@JSON
def optimise(model: str, version: str, chosen: tuple[str, ...], as_json: bool) -> None:
    """Make smaller or faster variants of VERSION (or an alias) as PATCH versions.

    Each is compared with its parent on the holdout of the parent's training, and gated. Those that pass are
    registered; the fastest of them that is proven faster becomes the candidate. People release it.
    """
    from perennial.flows.evaluation.optimise import optimise as flow
    from perennial.flows.evaluation.optimise import refuse_without_policy
    from perennial.flows.governance.documents import document_version
    from perennial.wiring import versions
    from perennial.wiring.variants import optimising

    settings = load()
    spec = catalog.spec(model, settings)
    spec.trainable()
    refuse_without_policy(spec)
    recipes = optimising.recipes(spec, settings)
    known = [recipe.name for recipe in recipes]
    if unknown := [name for name in chosen if name not in known]:
        raise UsageError(f"no recipe is named {', '.join(unknown)}", hint=f"recipes: {', '.join(known)}")
    parent, outcomes, proposed = flow(
        spec,
        version,
        [recipe for recipe in recipes if not chosen or recipe.name in chosen],
        optimising.variant_ports(spec, settings),
        versions.labels(settings),
        actor(settings),
        functools.partial(print_text, err=True),
    )
    to_json, _, packages = versions.bom_tools()
    documents = versions.document_ports(settings)
    for outcome in outcomes:
        if outcome.version is not None:
            document_version(spec, outcome.version.version, documents, packages(), to_json, now())
    if as_json:
        print_json(_content(parent, outcomes, proposed))
    else:
        _show(spec, parent, outcomes, proposed)


def _content(parent: VersionRecord, outcomes: list[Outcome], proposed: VersionRef | None) -> dict[str, Any]:
    variants = [
        {
            "recipe": outcome.recipe,
            "version": outcome.version.version if outcome.version else None,
            "digest": outcome.version.digest if outcome.version else None,
            "not_made": outcome.not_made or None,
            "failures": list(outcome.failures),
            "figures": outcome.figures.model_dump(mode="json") if outcome.figures else None,
        }
        for outcome in outcomes
    ]
    return {
        "parent": parent.ref.version,
        "digest": parent.ref.digest,
        "variants": variants,
        "proposed": proposed.version if proposed else None,
    }


def _show(
    spec: ModelSpec, parent: VersionRecord, outcomes: list[Outcome], proposed: VersionRef | None
) -> None:
    header = ("variant", "version", "answers alike", f"{spec.gate.improvement.metric} gain", "time, 1 row",
              "time, 64 rows", "bytes")  # fmt: skip
    print_table(header, [_row(outcome) for outcome in outcomes])
    print_text(
        f"against {parent.ref.version} on its holdout ({spec.evaluation.group} {parent.tags.get('holdout_from')} on); "
        "time is that of the variant divided by that of the parent; 95 % intervals"
    )
    for outcome in outcomes:
        if outcome.version is None:
            print_text(f"{outcome.recipe}: {outcome.words}")
    if proposed is not None:
        print_text(f"candidate {proposed} (key {proposed.key}): the fastest that passed")
        print_text(f"next: perennial release start {spec.name}")
    elif any(outcome.version and outcome.figures and outcome.figures.is_faster for outcome in outcomes):
        print_text(
            "a later training is the candidate: nothing is proposed; people may release a variant by its number"
        )
    else:
        print_text(f"no variant that passed is proven faster than {parent.ref.version}: nothing is proposed")


def _row(outcome: Outcome) -> tuple[str, ...]:
    version = outcome.version.version if outcome.version else "not made" if outcome.not_made else "failed"
    figures = outcome.figures
    if figures is None:
        return (outcome.recipe, version, *["-"] * 5)
    times = tuple(_short(ratio.value, ratio.low, ratio.high, 2) for ratio in figures.latency.values())
    alike, gain = figures.agreement, figures.gain
    return (
        outcome.recipe,
        version,
        _short(alike.value, alike.low, alike.high, 4),
        _short(gain.value, gain.low, gain.high, 4),
        *times,
        f"{figures.bytes} ({figures.bytes / figures.parent_bytes:.0%})",
    )


def _short(value: float, low: float, high: float, digits: int) -> str:
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
