"""`perennial release check` and `rehearse`: what a release would meet, before there is one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_record, print_table, print_text

if TYPE_CHECKING:
    from perennial.core.release.analysis.rehearsal import Rehearsal


@click.command()
@click.argument("model")
@click.option("--rate", type=float, help="Requests an hour; default: from the prediction log.")
@click.option(
    "--days", type=click.FloatRange(0, 36500), default=7.0, show_default=True, help="Days of the log to read."
)
@click.option("--error-rate", type=float, default=0.01, show_default=True, help="The champion's (assumed).")
@click.option(
    "--p95-ms", type=float, help="The champion's p95; default: from the log, or the policy's floor."
)
@click.option(
    "--log-sd", type=float, help="Standard deviation of log latency; default: from the log, or 0.5."
)
@click.option("--accuracy", type=float, help="The champion's; default: from the log, or 0.9.")
@click.option(
    "--labelled", type=float, help="Share of requests whose labels come; default: from the log, or 0."
)
@click.option(
    "--error-burst",
    type=click.FloatRange(1),
    help="Errors that come together; default: from an earlier release, or 1.",
)
@click.option("--users", type=click.IntRange(1), help="Users of a sticky split; default: from the log.")
@click.option(
    "--user-spread",
    type=click.FloatRange(0),
    help="Standard deviation of their error rates by its mean; default: from an earlier release, or 0.",
)
@click.option("--releases", default=2500, show_default=True, help="Simulated per harm.")
@click.option("--seed", default=7, show_default=True, help="Seed of the simulation.")
@JSON
def rehearse(
    model: str, rate: float | None, days: float, error_rate: float, p95_ms: float | None, log_sd: float | None,
    accuracy: float | None, labelled: float | None, error_burst: float | None, users: int | None,
    user_spread: float | None, releases: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Estimate the chance to catch a bad candidate per step, and the chance to abort a good one overall."""
    from perennial import catalog
    from perennial.core.release.analysis import rehearsal
    from perennial.core.release.analysis.traffic_profile import TrafficProfile
    from perennial.core.release.traffic import PoolName
    from perennial.flows.release.rehearsal import observed_traffic
    from perennial.wiring import database, releasing

    settings = environment.load()
    policy = catalog.spec(model, settings).release
    if rate is None:
        until = now()
        store, log = database.store(settings), releasing.prediction_log(settings)
        traffic = observed_traffic(
            model, log, store.feedback, until - timedelta(days=days), until, error_rate,
            earlier=store.releases.latest(model),
        )  # fmt: skip
    else:
        floor = max(1.0, policy.criteria.latency_p95_floor_ms)
        traffic = TrafficProfile(
            requests_per_hour=rate, error_rate=error_rate, latency_p95_ms=floor, latency_log_sd=0.5,
            accuracy=0.9, labelled=0.0,
        )  # fmt: skip
    options = {"latency_p95_ms": p95_ms, "latency_log_sd": log_sd, "accuracy": accuracy, "labelled": labelled}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    dependence = {"error_burst": error_burst, "users": users, "user_spread": user_spread}
    asked = {name: value for name, value in dependence.items() if value is not None}
    if asked:
        given["dependence"] = traffic.dependence.model_dump() | asked | {"measured": True}
    servers = len(settings.ports(PoolName.STABLE))
    odds = rehearsal.rehearse(
        policy, TrafficProfile(**traffic.model_dump() | given), seed, releases, servers=servers
    )
    if as_json:
        print_record(odds)
    else:
        _show(odds)


def _show(rehearsal: Rehearsal) -> None:
    from perennial.core.release.analysis.rehearsal import HARMS, HEALTHY

    traffic = rehearsal.traffic
    print_text(
        f"{traffic.requests_per_hour:g} requests an hour, {traffic.error_rate:.2%} fail, "
        f"p95 {traffic.latency_p95_ms:.0f} ms, "
        f"{traffic.accuracy:.1%} right where labels come ({traffic.labelled:.0%} of requests)"
    )
    print_text(str(traffic.dependence))
    print_text(
        f"labels count when their requests are {traffic.label_delay_hours:.3g} h old, "
        "in the step of the requests and in the later ones"
    )
    names = [harm.name for harm in (*HARMS, HEALTHY)]
    rows = [
        (step.step, f"{step.hours:.4g} h", *(f"{step.caught[name]:.1%}" for name in names))
        for step in rehearsal.steps
    ]
    for title, odds in (
        ("aborted", rehearsal.caught),
        ("asks a person", rehearsal.asks),
        ("promoted", rehearsal.promoted),
    ):
        rows.append((title, "", *(f"{odds[name]:.1%}" for name in names)))
    print_table(("step", "lasts", *names), rows)
    for step in rehearsal.steps:
        for harm, advice in step.advice.items():
            does = (
                f"{advice} would catch it more often than not" if advice else "no step of two weeks would do"
            )
            print_text(f"{step.step}: {harm}: {does}")
    for warning in rehearsal.warnings:
        print_text(f"warning: {warning}")


@click.command()
@click.argument("model")
@click.option("--version", "which", default="candidate", show_default=True, help="Version or alias.")
@JSON
def check(model: str, which: str, as_json: bool) -> None:
    """Check terms, files and behaviour of a version like the gate, without any record."""
    from perennial import catalog
    from perennial.core.verdict import Verdict, worst
    from perennial.errors import GateFailed
    from perennial.flows.versions import find_version
    from perennial.wiring import releasing, versions

    settings = environment.load()
    spec = catalog.spec(model, settings)
    registry = versions.registry(settings)
    record = find_version(model, which, registry)
    with TemporaryDirectory() as folder:
        files = registry.fetch(record.ref, Path(folder) / "version")
        judgements = (*releasing.terms(spec, record, settings), *releasing.checks(spec, files))
    if as_json:
        rules = [rule.model_dump(mode="json") for rule in judgements]
        print_json({"version": record.ref.version, "digest": record.ref.digest, "rules": rules})
    else:
        print_text(str(record.ref))
        rows = [(rule.verdict.value, rule.rule, rule.observed, rule.needed) for rule in judgements]
        print_table(("verdict", "rule", "observed", "needed"), rows)
    if worst(judgements) in (Verdict.FAIL, Verdict.ERROR):
        bad = ", ".join(rule.rule for rule in judgements if rule.verdict in (Verdict.FAIL, Verdict.ERROR))
        raise GateFailed(f"{record.ref}: {bad}", hint="docs/guide/checks.md says what each rule wants")
