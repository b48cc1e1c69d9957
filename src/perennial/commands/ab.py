"""`perennial ab`: analyse A/B tests, and plan them."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.errors import DataError, MalformedInput, UsageError

if TYPE_CHECKING:
    from perennial.core.ab import Analysis, Arm

KINDS = click.Choice(["binary", "continuous", "count"])


@click.group()
def ab() -> None:
    """Analyse and plan A/B tests of models."""


@ab.command()
@click.argument("source")
@click.option("--kind", type=KINDS, default="binary", show_default=True, help="Of the outcomes.")
@click.option("--control", default=None, help="Arm that the others are compared with; the first by name.")
@click.option("--shares", default=None, help="Shares the arms were to get, as B=20,A=80; equal by default.")
@click.option("--alpha", default=0.05, show_default=True, help="Chance of a wrong decision at any look.")
@click.option("--worth", default=0.0, show_default=True, help="Smallest difference of means worth a change.")
@click.option("--days", default=7.0, show_default=True, help="Of a model: how far back the log is read.")
@click.option("--picture", type=click.Path(path_type=Path), help="Write a PNG here.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write a page here.")
@click.option("--json", "as_json", is_flag=True)
def analyse(
    source: str, kind: str, control: str | None, shares: str | None, alpha: float, worth: float, days: float,
    picture: Path | None, page: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare arms. SOURCE is a CSV file with columns arm and outcome (and exposure, for counts), one row an
    observation; or a model, whose versions are compared by right answers."""
    from perennial.core import ab as core

    if Path(source).is_file():
        arms = read_arms(Path(source))
    elif kind == "binary":
        arms = _arms_of_model(source, days)
    else:
        raise UsageError(f"the versions of {source} are compared by right answers", hint="--kind binary")
    arms = _control_first(arms, control)
    asked = _shares(shares, [arm.name for arm in arms])
    try:
        found = core.analyse(kind, arms, asked, alpha, worth)
    except ValueError as error:
        raise DataError(f"{source}: {error}", hint="see --kind; collect more observations") from error
    tables = [arm_rows(found), comparison_rows(found)]
    if picture or page:
        from perennial import wiring

        reporter = wiring.ab_report()
        if picture:
            reporter.write_picture(found, picture)
        if page:
            reporter.write_page(found, f"A/B test of {source}", [*tables, [["split"], [_split(found)]]], page)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        _show(found, tables)


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


def _arms_of_model(model: str, days: float) -> list[Arm]:
    """Requests with known truth by version; the share of a request that was answered right counts as such."""
    from perennial import catalog, wiring
    from perennial.core.ab import Arm
    from perennial.flows.accuracy import accuracy

    settings = environment.load()
    catalog.spec(model, settings)
    since = datetime.now(UTC) - timedelta(days=days)
    log = wiring.prediction_log(settings)
    known = accuracy(model, since, wiring.store(settings).feedback, log)
    if not known:
        raise DataError(f"{model}: no labelled prediction in {days:g} days", hint="perennial feedback --help")
    names = dict(log.read(model, since=since)[["digest", "version"]].drop_duplicates().to_numpy().tolist())
    return [
        Arm(name=f"{names[digest]} ({digest[:8]})", n=one.requests, total=one.right)
        for digest, one in sorted(known.items(), key=lambda item: names[item[0]])
    ]


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


def arm_rows(found: Analysis) -> list[list[str]]:
    rows = [["arm", "n", "mean", "95 % credible"]]
    for arm, known in zip(found.arms, found.means, strict=True):
        rows.append([arm.name, str(arm.n), f"{arm.mean:.5g}", f"{known.low:.5g} to {known.high:.5g}"])
    return rows


def comparison_rows(found: Analysis) -> list[list[str]]:
    rows = [
        ["treatment", "P(better)", "difference", "valid at every look", "lift", "expected loss", "decision"]
    ]
    for one in found.comparisons:
        now, wide, lift = one.difference_interval, one.sequential_interval, one.lift_interval
        rows.append(
            [
                one.treatment,
                f"{one.superiority:.4f}",
                f"{one.difference:+.4g} [{now.low:+.4g}, {now.high:+.4g}]",
                f"{wide.low:+.4g} to {wide.high:+.4g}",
                f"{one.lift:+.1%} [{lift.low:+.1%}, {lift.high:+.1%}]" if lift else "-",
                f"{one.expected_loss:.3g}",
                f"{one.decision.value}: {one.why}",
            ]
        )
    return rows


def _split(found: Analysis) -> str:
    ratio = found.ratio
    said = "ALARM: not the shares that were asked for" if ratio.alarm else "as asked for"
    return f"{said} (chi-square p {ratio.p_value:.4g}, at every look {ratio.sequential_p:.4g})"


def _show(found: Analysis, tables: list[list[list[str]]]) -> None:
    from perennial.commands.tables import print_table

    for header, *rows in tables:
        print_table(header, rows)
    click.echo(f"split: {_split(found)}")
