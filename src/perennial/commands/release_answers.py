"""`perennial release shadow` and `replay`: what a candidate says, or would have said."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.output import print_table
from perennial.commands.which_release import release_option, select_release

if TYPE_CHECKING:
    from perennial.core.evaluation.disagreement import AnswerDisagreement, Latency
    from perennial.core.evaluation.replay_report import ReplayReport
    from perennial.core.monitoring.skew import FeatureSkew

DEFAULT_HOURS = 24.0


@click.command()
@click.argument("model")
@release_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def shadow(model: str, release_id: str | None, as_json: bool) -> None:
    """Compare the mirrored answers of a release with the champion's."""
    from perennial.flows.release.shadow import shadow_of
    from perennial.wiring import database, releasing

    settings = environment.load()
    ledger = database.store(settings).ledger
    status = select_release(model, release_id, settings)
    found = shadow_of(status, releasing.prediction_log(settings), ledger, datetime.now(UTC))
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    champion = status.champion.version if status.champion is not None else "nobody"
    click.echo(f"{model} {status.candidate.version} beside {champion} ({status.phase.value})")
    show(found)


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Of the log  [default: 24]")
@click.option("--last", type=click.IntRange(min=1), help="The newest so many predictions instead.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def replay(model: str, version: str, hours: float | None, last: int | None, as_json: bool) -> None:
    """Run logged requests through a version that may have no traffic yet (semantic version or alias)."""
    from perennial import catalog
    from perennial.errors import UsageError
    from perennial.flows.evaluation.offline_features import OfflineSource
    from perennial.flows.evaluation.replay import ReplayPorts
    from perennial.flows.evaluation.replay import replay_requests as flow
    from perennial.wiring import releasing, training, versions

    if hours is not None and last is not None:
        raise UsageError("--hours and --last exclude each other", hint="give one of them")
    settings = environment.load()
    spec = catalog.spec(model, settings)
    since = None if last is not None else datetime.now(UTC) - timedelta(hours=hours or DEFAULT_HOURS)
    ports = ReplayPorts(
        predictions=releasing.prediction_log(settings),
        registry=versions.registry(settings),
        scorer=training.scorer(),
        offline=OfflineSource(
            features=training.features(settings),
            history=lambda: training.history_store(settings).load(spec.data.history),
            make=training.entrypoint(spec.data.prepare, spec),
        ),
        stopwatch=time.perf_counter,
    )
    with TemporaryDirectory() as folder:
        found = flow(spec, version, since, last, ports, Path(folder) / "version")
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        _show_replay(model, found)


def _show_replay(model: str, found: ReplayReport) -> None:
    answered = ", ".join(f"{name} ({rows} rows)" for name, rows in found.answered_by.items())
    click.echo(f"{model} {found.candidate} on what {answered} answered")
    click.echo(f"from {found.first:%Y-%m-%d %H:%M:%S} to {found.last:%Y-%m-%d %H:%M:%S} UTC")
    for one in found.breaks:
        how = "recomputed from the history" if one.recomputed else "so nothing was scored"
        click.echo(f"schema break: {one.feature} is not in the log, {how}")
    if found.answers is not None:
        show(found.answers)
    if found.scoring is not None:
        click.echo(
            f"scoring: {found.scoring.per_1000_rows_ms:.1f} ms per 1000 rows, {found.scoring.load_ms:.1f} ms to load"
        )
    if found.segments:
        rows = [(one.column, one.value, str(one.changed)) for one in found.segments]
        print_table(("segment", "value", "decided otherwise"), rows)
    click.echo(
        f"training-serving skew over {found.skew_rows} rows"
        + (f" ({found.skew_note})" * bool(found.skew_note))
    )
    if found.skew:
        print_table(
            ("feature", "rows", "differ", "missing served", "missing offline", "largest", "PSI"),
            [_skew_row(one) for one in found.skew],
        )


def _skew_row(one: FeatureSkew) -> tuple[str, ...]:
    shares = [one.differ, one.missing_served, one.missing_offline]
    return (
        one.feature,
        str(one.rows),
        *("-" if share is None else f"{share:.2%}" for share in shares),
        f"{one.largest:.4g}",
        "-" if one.psi is None else f"{one.psi:.4f}",
    )


def show(found: AnswerDisagreement) -> None:
    """The figures, then the largest differences."""
    print_table(("figure", "value"), _figures(found))
    if found.examples:
        click.echo("the largest differences:")
        rows = [
            (
                one.request_id,
                one.entity,
                f"{one.champion:.4f}",
                f"{one.candidate:.4f}",
                "yes" if one.decided_otherwise else "no",
            )
            for one in found.examples
        ]
        print_table(("request", "entity", "champion", "candidate", "decided otherwise"), rows)


def _figures(found: AnswerDisagreement) -> list[tuple[str, str]]:
    rows = [("decided otherwise", str(found.changed)), ("rows compared", str(found.changed.rows))]
    if found.shift is not None:
        quantiles = ", ".join(f"{name} {value:+.4f}" for name, value in found.shift.quantiles.items())
        rows += [
            ("score shift, mean", f"{found.shift.mean:+.4f}"),
            ("score shift, quantiles", quantiles),
            ("largest difference", f"{found.shift.largest:.4f}"),
        ]
    rows += [
        (f"latency of the {name}", _latency(one))
        for name, one in (("champion", found.champion_latency), ("candidate", found.candidate_latency))
        if one is not None
    ]
    return [
        *rows,
        ("requests not answered", str(found.unanswered)),
        ("scores that are no number in [0, 1]", str(found.unusable)),
    ]


def _latency(one: Latency) -> str:
    return f"p50 {one.p50_ms:.1f} ms, p95 {one.p95_ms:.1f} ms ({one.requests} requests)"
