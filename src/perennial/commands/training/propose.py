"""`perennial features propose`: window features whose gain is proven, as an ordinary feature view."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
import yaml
from pydantic import TypeAdapter, ValidationError

from perennial import catalog
from perennial.commands.output import JSON, print_json, print_table, print_text
from perennial.core.spec import ModelSpec
from perennial.errors import UsageError
from perennial.settings import load

if TYPE_CHECKING:
    from perennial.core.evaluation.feature_choice import Candidate, Choice
    from perennial.core.feature_spec import FeatureSpec


@click.command()
@click.argument("model")
@click.option("--entity", metavar="COLUMN", help="Whose past events count: a column of the table.")
@click.option(
    "--events", "view", metavar="VIEW", help="Feature view whose rows are the events.  [default: the table]"
)
@click.option(
    "--column", "columns", multiple=True, help="Column of the events; repeatable.  [default: all numbers]"
)
@click.option("--over", "lengths", multiple=True, metavar="P7D", help="Length of a window; repeatable.")
@click.option("--name", help="Name of the new view.  [default: past_MODEL]")
@click.option("--dry-run", is_flag=True, help="Write nothing.")
@JSON
def propose(
    model: str, entity: str | None, view: str | None, columns: tuple[str, ...], lengths: tuple[str, ...],
    name: str | None, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Propose windows over past events that improve MODEL on later rows, none of them of its holdout.

    What is proven is written as a feature view. The spec of the model is yours to change.
    """
    from perennial.core.training.drafts.view_draft import view_text
    from perennial.flows.training import propose as flow
    from perennial.wiring import proposing

    settings = load()
    spec = catalog.spec(model, settings)
    events = proposing.events_of(spec, entity, view, name or f"past_{model}", columns, settings)
    proposal = flow.propose(
        spec,
        events,
        list(dict.fromkeys(_length(text) for text in lengths)),
        proposing.propose_ports(settings),
        lambda line: print_text(line, err=True),
    )
    choice, path = proposal.choice, None
    features = proposal.features
    block = None if features is None else _block(features)
    if proposal.view is not None and not dry_run:
        gain = f"{choice.metric} gain {choice.total} on rows before the holdout"
        why = f"Written by `perennial features propose {model}`: {gain}."
        path = proposing.write_view(proposal.view, view_text(proposal.view, why), settings)
    if as_json:
        print_json(
            {**json.loads(choice.model_dump_json()), "view": str(path) if path else None, "features": block}
        )
        return
    _show(choice)
    if features is None:
        return
    if path is not None:
        print_text(f"wrote {path}")
    print_text(f"next: in the spec of {model}, then `perennial run {model}`:")
    for line in yaml.safe_dump({"features": block}, sort_keys=False, allow_unicode=True).splitlines():
        print_text(line)
    for also in _further_changes(spec, features, events.entity):
        print_text(f"also: {also}")


def _block(features: FeatureSpec) -> dict[str, Any]:
    """Return `features` as a spec has it."""
    return {"source": features.source, **features.model_dump(mode="json", exclude_defaults=True)}


def _show(choice: Choice) -> None:
    header = ("candidate", f"{choice.metric} gain alone", "chosen", "gain when proven", "kept")
    print_table(header, [_row(candidate) for candidate in choice.candidates])
    learnt, chosen, proven = choice.rows
    print_text(
        f"{learnt} rows to learn from, {chosen} to choose, {proven} to prove; 95 % intervals; holdout unseen"
    )
    if choice.kept:
        print_text(f"together: {choice.metric} gain {choice.total} over the features as they are")
    elif choice.total is not None:
        print_text(f"nothing is kept: {choice.metric} gain {choice.total} over the features as they are")
    else:
        print_text("nothing is kept: no gain is proven")


def _row(candidate: Candidate) -> tuple[str, ...]:
    alone = "the same value in every row" if candidate.alone is None else str(candidate.alone)
    proof = "-" if candidate.proof is None else str(candidate.proof)
    return candidate.name, alone, _yes(candidate.chosen), proof, _yes(candidate.kept)


def _yes(value: bool) -> str:
    return "yes" if value else "-"


def _further_changes(spec: ModelSpec, features: FeatureSpec, entity: str) -> list[str]:
    """Return what else the spec must change for these features."""
    further = []
    if entity in spec.features.inputs:
        further.append(f"{entity} becomes the key and is no input any more")
    if entity in spec.monitoring.columns:
        further.append(f"take {entity} out of monitoring.columns")
    try:
        ModelSpec.model_validate({**spec.model_dump(), "features": features.model_dump()})
    except ValidationError as error:
        further += [problem["msg"] for problem in error.errors()]
    return further


def _length(text: str) -> timedelta:
    try:
        length = TypeAdapter(timedelta).validate_json(f'"{text}"')
    except ValidationError as error:
        raise UsageError(
            f"--over {text} is no duration", hint="ISO 8601: PT6H is six hours, P7D seven days"
        ) from error
    if length < timedelta(seconds=1) or length.microseconds:
        raise UsageError(
            f"--over {text} is no whole number of seconds above 0",
            hint="a window ends before the row and looks back: PT6H is six hours, P7D seven days",
        )
    return length
