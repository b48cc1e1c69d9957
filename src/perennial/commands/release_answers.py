"""`perennial release shadow` and `replay`: compare a candidate's answers with the champion's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_record, print_table, print_text
from perennial.commands.which_release import load_release, release_option

if TYPE_CHECKING:
    from perennial.core.evaluation.disagreement import AnswerDisagreement
    from perennial.core.evaluation.replay_report import ReplayReport
    from perennial.core.monitoring.skew import FeatureSkew

DEFAULT_HOURS = 24.0


@click.command()
@click.argument("model")
@release_option
@JSON
def shadow(model: str, release_id: str | None, as_json: bool) -> None:
    """Compare the mirrored answers of a release with the champion's."""
    from perennial.flows.release.shadow import shadow_of
    from perennial.wiring import database, releasing

    settings = environment.load()
    ledger = database.store(settings).ledger
    status = load_release(model, release_id, settings)
    answers = shadow_of(status, releasing.prediction_log(settings), ledger, now())
    if as_json:
        print_record(answers)
        return
    champion = status.champion.version if status.champion is not None else "nobody"
    print_text(f"{model} {status.candidate.version} beside {champion} ({status.phase.value})")
    show(answers)


@click.command()
@click.argument("model")
@click.argument("version")
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), help="Hours of the log to replay.  [default: 24]"
)
@click.option(
    "--last", type=click.IntRange(min=1), help="Replay this number of the newest predictions instead."
)
@JSON
def replay(model: str, version: str, hours: float | None, last: int | None, as_json: bool) -> None:
    """Run logged requests through a version that may have no traffic yet (semantic version or alias)."""
    from perennial import catalog
    from perennial.errors import UsageError
    from perennial.flows.evaluation.replay import replay_requests
    from perennial.wiring import releasing

    if hours is not None and last is not None:
        raise UsageError("--hours and --last exclude each other", hint="give one of them")
    settings = environment.load()
    spec = catalog.spec(model, settings)
    since = None if last is not None else now() - timedelta(hours=hours or DEFAULT_HOURS)
    with TemporaryDirectory() as folder:
        ports = releasing.replay_ports(spec, settings)
        report = replay_requests(spec, version, since, last, ports, Path(folder) / "version")
    if as_json:
        print_record(report)
    else:
        _show_replay(model, report)


def _show_replay(model: str, report: ReplayReport) -> None:
    answered = ", ".join(f"{name} ({rows} rows)" for name, rows in report.answered_by.items())
    print_text(f"{model} {report.candidate} on what {answered} answered")
    print_text(f"from {report.first:%Y-%m-%d %H:%M:%S} to {report.last:%Y-%m-%d %H:%M:%S} UTC")
    for broken in report.breaks:
        how = "recomputed from the history" if broken.recomputed else "so nothing was scored"
        print_text(f"schema break: {broken.feature} is not in the log, {how}")
    if report.answers is not None:
        show(report.answers)
    if report.scoring is not None:
        print_text(
            f"scoring: {report.scoring.per_1000_rows_ms:.1f} ms per 1000 rows, {report.scoring.load_ms:.1f} ms to load"
        )
    if report.segments:
        rows = [(segment.column, segment.value, str(segment.changed)) for segment in report.segments]
        print_table(("segment", "value", "decided otherwise"), rows)
    print_text(
        f"training-serving skew over {report.skew_rows} rows"
        + (f" ({report.skew_note})" * bool(report.skew_note))
    )
    if report.skew:
        print_table(
            ("feature", "rows", "differ", "missing served", "missing offline", "largest", "PSI"),
            [_skew_row(skew) for skew in report.skew],
        )


def _skew_row(skew: FeatureSkew) -> tuple[str, ...]:
    shares = [skew.differ, skew.missing_served, skew.missing_offline]
    return (
        skew.feature,
        str(skew.rows),
        *("-" if share is None else f"{share:.2%}" for share in shares),
        f"{skew.largest:.4g}",
        "-" if skew.psi is None else f"{skew.psi:.4f}",
    )


def show(answers: AnswerDisagreement) -> None:
    """Print the figures, then the largest differences."""
    print_table(("figure", "value"), _figures(answers))
    if answers.examples:
        print_text("the largest differences:")
        rows = [
            (
                example.request_id,
                example.entity,
                f"{example.champion:.4f}",
                f"{example.candidate:.4f}",
                "yes" if example.decided_otherwise else "no",
            )
            for example in answers.examples
        ]
        print_table(("request", "entity", "champion", "candidate", "decided otherwise"), rows)


def _figures(answers: AnswerDisagreement) -> list[tuple[str, str]]:
    rows = [("decided otherwise", str(answers.changed)), ("rows compared", str(answers.changed.rows))]
    if answers.shift is not None:
        quantiles = ", ".join(f"{name} {value:+.4f}" for name, value in answers.shift.quantiles.items())
        rows += [
            ("score shift, mean", f"{answers.shift.mean:+.4f}"),
            ("score shift, quantiles", quantiles),
            ("largest difference", f"{answers.shift.largest:.4f}"),
        ]
    latencies = {"champion": answers.champion_latency, "candidate": answers.candidate_latency}
    for name, measured in latencies.items():
        if measured is not None:
            text = (
                f"p50 {measured.p50_ms:.1f} ms, p95 {measured.p95_ms:.1f} ms ({measured.requests} requests)"
            )
            rows.append((f"latency of the {name}", text))
    return [
        *rows,
        ("requests not answered", str(answers.unanswered)),
        ("scores that are no number in [0, 1]", str(answers.unusable)),
    ]
