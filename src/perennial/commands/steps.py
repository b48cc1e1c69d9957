"""The steps of a training, each a command: prepare, validate, train, evaluate, register.

They hand files to each other through one work folder; Airflow and `dvc repro` run these very commands.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perennial import catalog
from perennial.commands.identity import actor
from perennial.commands.tables import print_table
from perennial.core.spec import ModelSpec, Reason
from perennial.errors import UsageError
from perennial.settings import Settings, load
from perennial.wiring import training, versions

if TYPE_CHECKING:
    from perennial.core.evaluation.evaluation import Evaluation
    from perennial.flows.training.workdir import Workdir

workdir_option = click.option(
    "--workdir", type=click.Path(path_type=Path), help="Work folder  [default: data/MODEL in the project]"
)


@click.command()
@click.argument("model")
@workdir_option
@click.option("--until-cycle", type=int, help="Last cycle to use (inclusive).")
def prepare(model: str, workdir: Path | None, until_cycle: int | None) -> None:
    """History -> feature tables and examples, as a DVC revision."""
    from perennial.flows.training.prepare import prepare as flow

    settings, spec, work = _start(model, workdir)
    histories = training.history_store(settings)
    revision = flow(
        spec,
        histories.load(spec.data.history),
        histories.source(spec.data.history).source,
        training.entrypoint(spec.data.prepare, spec),
        training.data_store(settings),
        work,
        until_cycle,
    )
    click.echo(f"data revision {revision.revision[:12]}: {revision.message}")


@click.command()
@click.argument("model")
@workdir_option
@click.option("--no-publish", is_flag=True, help="Only check; leave the online features as they are.")
def validate(model: str, workdir: Path | None, no_publish: bool) -> None:
    """Check prepared data; a failing suite stops here. Then publish the features for serving."""
    from perennial.core.training.data import DataRevision, Validation
    from perennial.flows.training.validate import validate as flow
    from perennial.flows.training.workdir import read_record, read_table, write_json

    settings, spec, work = _start(model, workdir)
    revision = read_record(work.revision, DataRevision, "prepare")
    views = work.read_views()
    reports = flow(
        spec,
        {"history": read_table(work.history, "prepare"), **views},
        training.validator(),
        settings.configs / "expectations",
        work.data_docs,
        settings.quarantine,
        datetime.now(UTC),
    )
    for report in reports:
        click.echo(f"{report.table}: {report.rules} rules hold for {report.rows} rows")
    if not no_publish:
        training.features(settings).publish(views)
        click.echo(f"published: {', '.join(views)}")
    write_json(work.validation, Validation(revision=revision.revision, reports=tuple(reports)))


@click.command()
@click.argument("model")
@workdir_option
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in Reason]),
    default=Reason.PERSON.value,
    show_default=True,
    envvar="PERENNIAL_REASON",
    show_envvar=True,
)
@click.option("--reason-text", default="", envvar="PERENNIAL_REASON_TEXT", show_envvar=True)
@click.option("--trials", type=click.IntRange(min=1), help="Instead of tuning.trials of the spec.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of tuning.epochs of the spec.")
@click.option("--seed", type=int, help="Instead of tuning.seed of the spec.")
def train(
    model: str,
    workdir: Path | None,
    reason: str,
    reason_text: str,
    trials: int | None,
    epochs: int | None,
    seed: int | None,
) -> None:
    """Tune, fit, export and log one model. Killed and repeated, the search goes on where it stopped."""
    from perennial.flows.training.train import TrainPorts
    from perennial.flows.training.train import train as flow

    settings, spec, work = _start(model, workdir)
    spec = _tuned(spec, {"trials": trials, "epochs": epochs, "seed": seed})
    found = training.model_class(spec)
    trained = flow(
        spec,
        work,
        TrainPorts(
            features=training.features(settings),
            tracker=training.tracker(settings),
            tuner=training.tuner(settings),
            registry=versions.registry(settings),
            scorer=training.scorer(),
            figures=training.figures(),
        ),
        found,
        found.suggest,
        training.provenance(spec, settings),
        Reason(reason),
        reason_text,
        _say,
    )
    click.echo(
        f"trained {trained.digest[:12]} in {trained.seconds:.0f} s: {trained.trials} trials "
        f"({trained.pruned} pruned), {trained.epochs} epochs, parity {trained.parity:.1e}"
    )


@click.command()
@click.argument("model")
@workdir_option
@click.option("--data", type=click.Path(path_type=Path), help="A file to score a registered version on.")
@click.option("--version", help="Semantic version or alias  [default: champion, else candidate]")
@click.option("--from-cycle", type=int, help="First cycle scored; earlier ones only build features.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    model: str,
    workdir: Path | None,
    data: Path | None,
    version: str | None,
    from_cycle: int | None,
    as_json: bool,
) -> None:
    """Score the last training on its holdout, or with --data a registered version on a file.

    The file is Parquet or CSV of the history schema, or the IOF/ROL CSV.
    """
    if data is not None:
        if workdir is not None:
            raise UsageError(
                "--data and --workdir exclude each other", hint="a version, or the last training"
            )
        _evaluate_file(model, data, version, from_cycle, as_json)
        return
    if version is not None or from_cycle is not None:
        raise UsageError("--version and --from-cycle need --data", hint="--data FILE is what gets scored")
    from perennial.flows.evaluation.evaluate import EvaluatePorts
    from perennial.flows.evaluation.evaluate import evaluate as flow

    settings, spec, work = _start(model, workdir)
    ports = EvaluatePorts(
        features=lambda: training.features(settings),
        tracker=training.tracker(settings),
        registry=versions.registry(settings),
        scorer=training.scorer(),
        figures=training.figures(),
        references=training.references(),
        explain=training.explain(),
    )
    _show(flow(spec, work, ports, _aside if as_json else _say), spec, as_json)


@click.command()
@click.argument("model")
@workdir_option
def register(model: str, workdir: Path | None) -> None:
    """Give an evaluated training a version: the candidate. Again changes nothing but its card and ML-BOM."""
    from perennial.commands.model_documents import keep_documents
    from perennial.flows.training.register import register as flow

    settings, spec, work = _start(model, workdir)
    ref = flow(spec, work, versions.registry(settings), actor(settings))
    keep_documents(settings, spec, ref.version)
    click.echo(f"candidate {ref} (key {ref.key}), with model card and ML-BOM")


def _start(model: str, workdir: Path | None) -> tuple[Settings, ModelSpec, Workdir]:
    from perennial.flows.training.workdir import Workdir

    settings = load()
    spec = catalog.spec(model, settings)
    return settings, spec, Workdir((workdir or settings.project / "data" / spec.name).resolve())


def _tuned(spec: ModelSpec, given: dict[str, int | None]) -> ModelSpec:
    changed = {name: value for name, value in given.items() if value is not None}
    return spec.model_copy(update={"tuning": spec.tuning.model_copy(update=changed)})


def _evaluate_file(
    model: str, data: Path, version: str | None, from_cycle: int | None, as_json: bool
) -> None:
    from tempfile import TemporaryDirectory

    from perennial.flows.evaluation.score import score_history
    from perennial.history import files

    settings = load()
    spec = catalog.spec(model, settings)
    history = files.read(data)
    with TemporaryDirectory() as folder:
        evaluation, name = score_history(
            spec,
            version,
            history,
            from_cycle,
            training.entrypoint(spec.data.prepare, spec),
            training.features(settings),
            versions.registry(settings),
            training.scorer(),
            Path(folder),
        )
    if not as_json:
        click.echo(f"{name} on {data}")
    _show(evaluation, spec, as_json)


def _show(evaluation: Evaluation, spec: ModelSpec, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(evaluation.model_dump(mode="json"), indent=2))
        return
    from perennial.core.evaluation.evaluation import table

    click.echo(
        f"{evaluation.rows} rows of {evaluation.groups} {spec.evaluation.group}s, {evaluation.first_group} to "
        f"{evaluation.last_group}; 95 % intervals over whole {spec.evaluation.group}s"
    )
    header, *rows = table(evaluation)
    print_table(header, rows)
    for one in evaluation.slices:
        auc = ", ".join(f"{name} {figures['roc_auc']:.3f}" for name, figures in one.scores.items())
        click.echo(f"{one.column} {one.value}: {one.rows} rows, ROC-AUC {auc}")


def _say(line: str) -> None:
    click.echo(line)


def _aside(line: str) -> None:
    """Beside JSON on the standard output."""
    click.echo(line, err=True)
