"""`perennial models import`: take a finished model, check it on a holdout, register it as imported."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from perennial import catalog
from perennial.commands.identity import actor
from perennial.commands.output import now, print_table, print_text
from perennial.core.spec import ModelSpec
from perennial.errors import UnknownModel, UsageError
from perennial.files import sha256
from perennial.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from perennial.core.training.imported import Description
    from perennial.flows.training.new_model import NewFiles


@click.command("import")
@click.argument("model")
@click.argument("file")
@click.option("--data", "holdout", type=click.Path(path_type=Path), required=True,
              help="CSV or Parquet file with rows that the model has not learnt from, and their target.")  # fmt: skip
@click.option("--trained", required=True, help="Where and by whom it was trained, in words: your statement.")
@click.option("--target", help="Column to predict; needed where the model has no spec yet.")
@click.option("--task", type=click.Choice(["binary", "multiclass", "regression"]), help="Kind of task.")
@click.option("--positive", help="Value of the target that is positive, of a binary task.")
@click.option("--time", help="Column of the time of a row.")
@click.option("--group", help="Column whose equal values belong together.")
@click.option("--missing", multiple=True, help="Further text of a missing value; repeatable.")
@click.option("--unit", default="units", show_default=True, help="Unit of the target of a regression.")
@click.option("--inputs", help="Columns in the order in which the model takes them: A,B,C.")
@click.option("--classes", help="Labels in the order of the model's probabilities: A,B,C.")
@click.option("--output", help="Output of the model that is the answer.")
@click.option("--trust", multiple=True, metavar="TYPE", help="Type in a skops file that you have looked at.")
@click.option("--licence", default="LicenseRef-own", show_default=True, help="Licence of the holdout (SPDX).")
@click.option("--seed", default=7, show_default=True, help="Seed of groups, background and resamples.")
@click.option("--yes", is_flag=True, help="Write the spec without asking.")
def import_(
    model: str, file: str, holdout: Path, trained: str, target: str | None, task: str | None,
    positive: str | None, time: str | None, group: str | None, missing: tuple[str, ...], unit: str,
    inputs: str | None, classes: str | None, output: str | None, trust: tuple[str, ...], licence: str,
    seed: int, yes: bool,
) -> None:  # fmt: skip
    """Import a finished model: FILE is ONNX, skops, safetensors, or an MLflow address (models:/..., runs:/...).

    It becomes a candidate of high risk, whose card claims nothing about its training. A pickle is refused.
    """
    from perennial.core.evaluation.imported_record import ImportRequest
    from perennial.flows.evaluation.import_model import import_version
    from perennial.flows.governance.documents import document_version
    from perennial.wiring import importing, training, versions

    if not trained.strip():
        raise UsageError("--trained needs words", hint='--trained "in the lab, by the vision team"')
    settings = load()
    who = actor(settings)
    with TemporaryDirectory() as name:
        path, names = importing.copied(file, settings, Path(name))
        given = importing.given_model(path, names, trust)
        described, columns = given.describe(), _listed(inputs)
        _show(file, described)
        new: NewFiles | None = None
        try:
            spec = catalog.spec(model, settings)
            stated = [flag for flag, value in (("--target", target), ("--task", task), ("--positive", positive),
                      ("--time", time), ("--group", group)) if value]  # fmt: skip
            if stated:
                raise UsageError(f"{model} has a spec, which says {', '.join(stated)}", hint="leave them out")
        except UnknownModel:
            if target is None:
                raise UsageError(
                    f"{model} has no spec, and nothing says what it predicts", hint="--target COLUMN"
                ) from None
            spec, new = _drafted(
                model, holdout, described, columns, settings, who, trained, licence, seed,
                {"target": target, "task": task, "time": time, "group": group, "positive": positive},
                missing, unit,
            )  # fmt: skip
            if not yes:
                click.confirm("Write the model?", abort=True)
        rows = training.rows_of(spec, holdout, now())
        request = ImportRequest(
            file=sha256(path),
            trained=trained.strip(),
            actor=who,
            inputs=columns,
            classes=_listed(classes),
            output=output,
        )
        ref = import_version(
            spec,
            given,
            training.preparation(spec)(rows).examples,
            request,
            importing.import_ports(settings),
            _writer(new, settings, model),
            print_text,
        )
    to_json, _, _ = versions.bom_tools()
    document_version(spec, ref.version, versions.document_ports(settings), [], to_json, now())
    print_text(f"candidate {ref} (key {ref.key}), imported: high risk, with model card and ML-BOM")
    print_text(f"next: perennial release start {model}")


def _drafted(
    model: str, holdout: Path, described: Description, columns: tuple[str, ...], settings: Settings, who: str,
    trained: str, licence: str, seed: int, given: dict[str, str | None], missing: tuple[str, ...], unit: str,
) -> tuple[ModelSpec, NewFiles]:  # fmt: skip
    """Return the spec of a new model with the columns of the holdout, and its files; nothing is written."""
    import yaml

    from perennial.core.governance.licensing import Consent, ConsentState, Terms
    from perennial.core.input_spec import InputKind
    from perennial.core.training.drafts.spec_draft import Draft
    from perennial.core.training.drafts.table_profile import Given, conclude
    from perennial.core.training.imported import ENTRYPOINT, column_order
    from perennial.core.training.imported_table import with_inputs
    from perennial.flows.training import new_model
    from perennial.wiring.new_model import csv_form, table_ports
    from perennial.wiring.tables import MISSING

    project, place = settings.project.resolve(), holdout.resolve()
    form, signs = csv_form(place, tuple(dict.fromkeys([*MISSING, *missing])))
    texts = tuple(dict.fromkeys([*MISSING, *missing, *signs]))
    ports = table_ports(place, texts, form, only_iso=True)
    profile = conclude(ports.summarise(), Given(**given, is_holdout=True))  # type: ignore[arg-type]
    unfit = {InputKind.TEXT: "a text", InputKind.ARRAY: "an array"}
    left = {name: unfit[c.kind] for name, c in profile.inputs.items() if c.kind in unfit}
    profile = profile.without(left)
    names = column_order(described, columns, list(profile.inputs))
    profile = with_inputs(profile, names, described)
    rows = [(decision.column.name, decision.role.value, decision.kind.value if decision.kind else "", decision.reason)
            for decision in profile.columns]  # fmt: skip
    print_table(("column", "is", "type", "because"), rows)
    print_text(f"task: {profile.task} ({profile.task_reason})")
    draft = Draft(
        name=model,
        owner=who,
        path=str(place.relative_to(project) if place.is_relative_to(project) else place),
        missing=texts,
        form=form,
        entrypoint=ENTRYPOINT,
        unit=unit,
        seed=seed,
        template="forest",  # of all templates the one whose parity allows for the thresholds of trees
    )
    why = f"rows to judge an imported model by; it was trained: {trained}"
    terms = Terms(licence=licence, consent=Consent(state=ConsentState.NOT_NEEDED, by=who, why=why))
    files = new_model.draft_files(
        draft, new_model.Inspection(profile, 0), list(profile.inputs), project, terms
    )
    path = settings.configs / "models" / f"{model}.yaml"
    return catalog.parse(yaml.safe_load(files.files[path.resolve()]), path), files


def _writer(new: NewFiles | None, settings: Settings, model: str) -> Callable[[], None]:
    """Return the function that writes the files of a new model, once everything has been checked."""

    def write() -> None:
        if new is None:
            return
        from perennial.flows.training import new_model
        from perennial.history import datasets

        project = settings.project.resolve()
        stated = datasets.terms(settings.shipped("configs/datasets.yaml"), settings.configs / "sources.yaml")
        for written in new_model.write(new, project, stated, model):
            print_text(f"wrote {written.relative_to(project)}")

    return write


def _show(file: str, described: Description) -> None:
    taken = ", ".join(
        value.name if value.width == 1 else f"{value.name} [{value.width or 'any number'}]"
        for value in described.inputs
    )
    print_text(f"{file}: {described.format} ({described.framework}), takes {taken}")


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()
