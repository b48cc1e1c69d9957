"""`perennial ab`: analyse A/B tests, and plan them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perennial import settings as environment
from perennial.errors import DataError, MalformedInput, UsageError

if TYPE_CHECKING:
    from perennial.commands.ab_view import Table
    from perennial.core.ab import Analysis, Arm

KINDS = click.Choice(["binary", "continuous", "count"])
OUTCOMES = click.Choice(["right", "label", "reward", "events"])
CHANCE = 0.05
"""Of a wrong decision about a file, where nobody says another."""


@click.group()
def ab() -> None:
    """Analyse and plan A/B tests of models."""


@ab.command()
@click.argument("source")
@click.option(
    "--release", "release_id", default=None, help="Of a model: its id; the newest that split users."
)
@click.option("--outcome", type=OUTCOMES, default=None, help="Of a model's users.  [default: right]")
@click.option("--kind", type=KINDS, default=None, help="Of a file's outcomes.  [default: binary]")
@click.option("--control", default=None, help="Of a file: the arm that others are compared with; the first.")
@click.option("--shares", default=None, help="Of a file: asked for, as B=20,A=80; equal by default.")
@click.option(
    "--alpha",
    type=float,
    default=None,
    help="Chance of a wrong decision at any look.  "
    "[default: 1 - release.criteria.confidence of the spec; of a file 0.05]",
)
@click.option("--worth", default=0.0, show_default=True, help="Smallest difference of means worth a change.")
@click.option("--picture", type=click.Path(path_type=Path), help="Write a PNG here.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write a page here.")
@click.option("--json", "as_json", is_flag=True)
def analyse(
    source: str, release_id: str | None, outcome: str | None, kind: str | None, control: str | None,
    shares: str | None, alpha: float | None, worth: float, picture: Path | None, page: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare arms. SOURCE is a model, whose newest split is analysed user by user: `right` share of right
    answers, `label` share of positive labels, `reward` mean reward, `events` positive labels. Or SOURCE is a
    CSV file with columns arm and outcome (and exposure, for counts), one row an observation."""
    from perennial.commands import ab_view

    if Path(source).is_file():
        _only("a model", release=release_id, outcome=outcome)
        found = _of_file(Path(source), kind or "binary", control, shares, alpha or CHANCE, worth)
        told, more = [], {}
    else:
        _only("a file", kind=kind, control=control, shares=shares)
        found, told, more = _of_model(source, release_id, outcome or "right", alpha, worth)
    tables = [*told, *ab_view.tables(found)]
    if picture or page:
        from perennial import wiring

        reporter = wiring.ab_report()
        if picture:
            reporter.write_picture(found, picture)
        if page:
            reporter.write_page(found, f"A/B test of {source}", tables, page)
    if as_json:
        click.echo(json.dumps({**found.model_dump(mode="json"), **more}, indent=2))
    else:
        _show(tables)


@ab.command()
@click.option("--kind", type=KINDS, default="binary", show_default=True)
@click.option("--base", type=float, required=True, help="Mean outcome of the control.")
@click.option("--other", type=float, required=True, help="Mean outcome that shall be found.")
@click.option("--deviation", type=float, help="Standard deviation of an outcome; continuous only.")
@click.option("--alpha", default=0.05, show_default=True)
@click.option("--power", default=0.8, show_default=True)
def size(kind: str, base: float, other: float, deviation: float | None, alpha: float, power: float) -> None:
    """How many observations each of two arms needs, for one look at the end."""
    import math

    from perennial.core import ab_design as design

    try:
        if kind == "continuous":
            if not deviation:
                raise UsageError("continuous outcomes need their deviation", hint="--deviation 2.5")
            n = design.sample_size_continuous(other - base, deviation, alpha, power)
        else:
            plan = design.sample_size_binary if kind == "binary" else design.sample_size_count
            n = plan(base, other, alpha, power)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{base:g} and {other:g}: {error}", hint="two different means in range") from error
    click.echo(f"{math.ceil(n)} per arm ({n:.6f}), {2 * math.ceil(n)} together")


def read_arms(path: Path) -> list[Arm]:
    """Sums by arm, in order of name.

    Raises:
        MalformedInput: a column is missing or a value is no number.
    """
    from perennial.core.ab import Arm

    sums: dict[str, list[float]] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                value, exposure = float(row["outcome"]), float(row.get("exposure") or 1.0)
                known = sums.setdefault(row["arm"], [0, 0.0, 0.0, 0.0])
                for place, new in enumerate((1, value, value * value, exposure)):
                    known[place] += new
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedInput(
            f"{path}: {error}", hint="columns arm and outcome, and exposure for counts; outcomes are numbers"
        ) from error
    return [
        Arm(name=name, n=n, total=total, squares=squares, exposure=exposure or None)
        for name, (n, total, squares, exposure) in sorted(sums.items())
    ]


def _only(what: str, **given: str | None) -> None:
    wrong = [f"--{name}" for name, value in given.items() if value is not None]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: only of {what}", hint="perennial ab analyse --help")


def _of_file(
    path: Path, kind: str, control: str | None, shares: str | None, alpha: float, worth: float
) -> Analysis:
    from perennial.core import ab as core

    arms = _control_first(read_arms(path), control)
    asked = _shares(shares, [arm.name for arm in arms])
    try:
        return core.analyse(kind, arms, asked, alpha, worth)
    except ValueError as error:
        raise DataError(f"{path}: {error}", hint="see --kind; collect more observations") from error


def _of_model(
    model: str, release_id: str | None, outcome: str, alpha: float | None, worth: float
) -> tuple[Analysis, list[Table], dict[str, Any]]:
    """The analysis, which test it is as a table, and the same for machines."""
    from perennial import catalog, wiring
    from perennial.commands import ab_view
    from perennial.core import ab as core
    from perennial.flows import experiment as flow
    from perennial.flows import feedback

    settings = environment.load()
    policy = catalog.spec(model, settings).release
    store = wiring.store(settings)
    feedback.ingest(wiring.feedback_inbox(settings), store.feedback)
    experiment = flow.find(model, release_id, store.releases, store.ledger, datetime.now(UTC))
    seen = flow.gather(experiment, outcome, wiring.prediction_log(settings), store.feedback)
    assigned = tuple(seen.units.by_arm.get(arm.name, 0) for arm in seen.arms)
    try:
        found = core.analyse(
            flow.KINDS[outcome], seen.arms, experiment.shares,
            alpha or 1.0 - policy.criteria.confidence, worth, assigned, policy.ab.mismatch,
        )  # fmt: skip
    except ValueError as error:
        raise DataError(
            f"{model}, release {experiment.release_id}: {error}",
            hint="labels and rewards come by POST /v1/feedback; see --outcome",
        ) from error
    more = {
        "experiment": experiment.model_dump(mode="json"),
        "units": seen.units.model_dump(),
        "outcome": outcome,
    }
    return found, [ab_view.about(experiment, seen.units, outcome)], more


def _control_first(arms: list[Arm], control: str | None) -> tuple[Arm, ...]:
    names = [arm.name for arm in arms]
    if control is not None and control not in names:
        raise UsageError(f"no arm {control!r}", hint=f"arms: {', '.join(names)}")
    if len(arms) < 2:
        raise DataError(f"one arm cannot be compared: {', '.join(names)}", hint="column arm names them")
    return tuple(sorted(arms, key=lambda arm: (arm.name != control, arm.name)))


def _shares(told: str | None, names: list[str]) -> tuple[float, ...]:
    if told is None:
        return (1.0,) * len(names)
    try:
        by_name = {name: float(share) for name, _, share in (one.partition("=") for one in told.split(","))}
        found = tuple(by_name.pop(name) for name in names)
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"--shares {told}: {error}", hint="; ".join(f"{name}=50" for name in names)
        ) from error
    if by_name or min(found) <= 0:
        raise UsageError(f"--shares {told}", hint="a positive share for each arm and no other")
    return found


def _show(tables: list[Table]) -> None:
    from perennial.commands.tables import print_table

    for header, *rows in tables:
        print_table(header, rows)
