"""Commands of the training steps: prepare, validate, train, evaluate, register.

A step reads the files of the step before it from a work folder. Airflow and `dvc repro` run these commands.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perennial import catalog
from perennial.backend_settings import BUCKET, FOLDER
from perennial.commands.evaluation.bounds import show as show_bounds
from perennial.commands.identity import actor, reason_option, reason_text_option
from perennial.commands.output import JSON, now, print_json, print_table, print_text
from perennial.core.assets import Reason
from perennial.core.spec import ModelSpec
from perennial.errors import UsageError
from perennial.settings import Settings, load
from perennial.wiring import training, training_steps, versions

if TYPE_CHECKING:
    from perennial.core.evaluation.evaluation import Evaluation
    from perennial.flows.training.workdir import Workdir

workdir_option = click.option(
    "--workdir", type=click.Path(path_type=Path), help="Work folder  [default: data/MODEL in the project]"
)

ADDRESS = re.compile(f"{BUCKET}{FOLDER}+|file:///.+")
"""Form of the address of a folder in object storage."""


def kept_work(step: Callable[..., None]) -> Callable[..., None]:
    """Give a step the option `--kept-in`: its work folder is fetched before it, and kept when it has ended well."""

    @click.option(
        "--kept-in", metavar="ADDRESS", help="Copy of the work folder, as s3://bucket/RUN; with --workdir."
    )
    @functools.wraps(step)
    def with_copy(*args: Any, kept_in: str | None, workdir: Path | None, **options: Any) -> None:
        if kept_in is None:
            step(*args, workdir=workdir, **options)
            return
        from perennial.flows.training.kept_work import copied
        from perennial.object_storage import ObjectFolder

        if workdir is None:
            raise UsageError("--kept-in needs --workdir", hint="--workdir FOLDER, of this run alone")
        if ADDRESS.fullmatch(kept_in) is None:
            raise UsageError(f"--kept-in {kept_in} is no address of a folder", hint="s3://bucket/folder/RUN")
        if options.get("data") is not None or options.get("bounds"):
            raise UsageError("--kept-in is about a step of a training", hint="leave --data and --bounds out")
        folder = workdir.resolve()
        with copied(folder, step.__name__, ObjectFolder(kept_in), functools.partial(print_text, err=True)):
            step(*args, workdir=folder, **options)

    return with_copy


@click.command()
@click.argument("model")
@workdir_option
@click.option("--until-cycle", type=int, help="Last cycle to use (inclusive).")
@kept_work
def prepare(model: str, workdir: Path | None, until_cycle: int | None) -> None:
    """Make feature tables and examples from the history and commit them as a DVC revision."""
    from perennial.flows.training.prepare import prepare as flow

    settings, spec, work = _start(model, workdir)
    source = training.source(spec, settings)
    rows = source.read()
    revision = flow(
        spec,
        rows,
        source.terms(),
        training.preparation(spec),
        training.data_store(settings),
        work,
        until_cycle,
        source.revision(),
    )
    print_text(f"data revision {revision.revision[:12]}: {revision.message}")


@click.command()
@click.argument("model")
@workdir_option
@click.option("--no-publish", is_flag=True, help="Only check; do not publish the features.")
@kept_work
def validate(model: str, workdir: Path | None, no_publish: bool) -> None:
    """Check the prepared data, then publish the features for serving; a failed check stops here."""
    from perennial.flows.training.validate import validate as flow

    settings, spec, work = _start(model, workdir)
    flow(
        spec,
        work,
        training.validator(),
        settings.configs / "expectations",
        settings.quarantine,
        now(),
        None if no_publish else lambda views: training.features(settings).publish(views),
        print_text,
    )


@click.command()
@click.argument("model")
@workdir_option
@reason_option
@reason_text_option
@click.option("--trials", type=click.IntRange(min=1), help="Replaces tuning.trials of the spec.")
@click.option("--epochs", type=click.IntRange(min=1), help="Replaces tuning.epochs of the spec.")
@click.option("--seed", type=int, help="Replaces tuning.seed of the spec.")
@kept_work
def train(
    model: str,
    workdir: Path | None,
    reason: str,
    reason_text: str,
    trials: int | None,
    epochs: int | None,
    seed: int | None,
) -> None:
    """Tune, fit, export and log a model. After a kill, the same command continues the search."""
    from perennial.flows.training.train import train as flow

    settings, spec, work = _start(model, workdir)
    spec = _tuned(spec, {"trials": trials, "epochs": epochs, "seed": seed})
    trained = flow(
        spec,
        work,
        training_steps.train_ports(spec, settings),
        training.build(spec),
        training.model_class(spec).suggest,
        training.provenance(spec, settings),
        Reason(reason),
        reason_text,
        print_text,
        training.first_trials(spec),
    )
    print_text(
        f"trained {trained.digest[:12]} in {trained.seconds:.0f} s: {trained.trials} trials "
        f"({trained.pruned} pruned), {trained.epochs} epochs, parity {trained.parity:.1e}"
    )


@click.command()
@click.argument("model")
@workdir_option
@click.option("--data", type=click.Path(path_type=Path), help="File to score a registered version on.")
@click.option("--version", help="Semantic version or alias  [default: champion, else candidate]")
@click.option("--from-cycle", type=int, help="First cycle scored; earlier ones only build features.")
@click.option("--bounds", is_flag=True, help="Only compare the last evaluation with the bounds of the gate.")
@JSON
@kept_work
def evaluate(
    model: str,
    workdir: Path | None,
    data: Path | None,
    version: str | None,
    from_cycle: int | None,
    bounds: bool,
    as_json: bool,
) -> None:
    """Score the last training on its holdout, or with --data a registered version on a file.

    The file is Parquet or CSV of the history schema, the IOF/ROL CSV, or a table like that of the model.
    """
    if data is not None:
        if workdir is not None:
            raise UsageError("--data and --workdir exclude each other", hint="give only one of them")
        if bounds:
            raise UsageError("--bounds is about the last training, not about --data", hint="leave one out")
        _evaluate_file(model, data, version, from_cycle, as_json)
        return
    if version is not None or from_cycle is not None:
        raise UsageError("--version and --from-cycle need --data", hint="--data FILE names the file to score")
    from perennial.flows.evaluation.evaluate import evaluate as flow

    settings, spec, work = _start(model, workdir)
    if bounds:
        show_bounds(spec, work, as_json)
        return
    # JSON alone belongs on the standard output.
    evaluation = flow(
        spec, work, training_steps.evaluate_ports(settings), functools.partial(print_text, err=as_json)
    )
    _show(evaluation, spec, as_json)


@click.command()
@click.argument("model")
@workdir_option
@kept_work
def register(model: str, workdir: Path | None) -> None:
    """Register the evaluated model as the candidate version, with model card and ML-BOM.

    A repetition makes no new version; it renews the documents.
    """
    from perennial.flows.governance.documents import document_version
    from perennial.flows.training.register import register as flow

    settings, spec, work = _start(model, workdir)
    ref = flow(spec, work, versions.registry(settings), actor(settings))
    to_json, _, packages = versions.bom_tools()
    documents = versions.document_ports(settings)
    document_version(spec, ref.version, documents, packages(), to_json, now())
    print_text(f"candidate {ref} (key {ref.key}), with model card and ML-BOM")


def _start(model: str, workdir: Path | None) -> tuple[Settings, ModelSpec, Workdir]:
    from perennial.flows.training.workdir import Workdir

    settings = load()
    spec = catalog.spec(model, settings)
    if spec.training.workers > 1:
        training.model_class(spec)  # refuses a kind that they cannot train, before anything changes
    return settings, spec, Workdir((workdir or settings.project / "data" / spec.name).resolve())


def _tuned(spec: ModelSpec, given: dict[str, int | None]) -> ModelSpec:
    changed = {name: value for name, value in given.items() if value is not None}
    return spec.model_copy(update={"tuning": spec.tuning.model_copy(update=changed)})


def _evaluate_file(
    model: str, data: Path, version: str | None, from_cycle: int | None, as_json: bool
) -> None:
    from tempfile import TemporaryDirectory

    from perennial.flows.evaluation.score import score_history

    settings = load()
    spec = catalog.spec(model, settings)
    history = training.rows_of(spec, data, now())
    with TemporaryDirectory() as folder:
        evaluation, name = score_history(
            spec,
            version,
            history,
            from_cycle,
            training.preparation(spec),
            training.features(settings),
            versions.registry(settings),
            training.scorer(),
            Path(folder),
        )
    if not as_json:
        print_text(f"{name} on {data}")
    _show(evaluation, spec, as_json)


def _show(evaluation: Evaluation, spec: ModelSpec, as_json: bool) -> None:
    if as_json:
        print_json(evaluation.model_dump(mode="json"))
        return
    from perennial.core.evaluation.evaluation import table

    print_text(
        f"{evaluation.rows} rows of {evaluation.groups} {spec.evaluation.group}s, {evaluation.first_group} to "
        f"{evaluation.last_group}; 95 % intervals over whole {spec.evaluation.group}s"
    )
    header, *rows = table(evaluation)
    print_table(header, rows)
    for slice_ in evaluation.slices:
        metric = spec.gate.improvement.metric
        shown = ", ".join(f"{name} {figures[metric]:.3f}" for name, figures in slice_.scores.items())
        print_text(f"{slice_.column} {slice_.value}: {slice_.rows} rows, {metric} {shown}")
