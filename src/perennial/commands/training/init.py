"""`perennial init`: make a model from rows. `perennial run`: all its steps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perennial import catalog
from perennial.commands import steps
from perennial.commands.identity import actor
from perennial.commands.output import print_table, print_text
from perennial.errors import UsageError
from perennial.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perennial.core.data_spec import CsvForm
    from perennial.core.training.drafts.spec_draft import SqlRowsOf
    from perennial.flows.training.new_model import Inspection


@click.command()
@click.argument("model")
@click.option("--from", "path", help="CSV or Parquet file, or a folder of Parquet files; also s3://...")
@click.option("--from-sql", "query", help="SELECT statement of a database.")
@click.option("--connection", metavar="ENVVAR", help="Environment variable with the address of the database.")
@click.option("--high-water", metavar="COLUMN", help="Column that only rises: later runs read what is above.")
@click.option("--target", required=True, help="Column to predict.")
@click.option(
    "--task", type=click.Choice(["binary", "multiclass", "regression", "forecast"]), help="Kind of task."
)
@click.option("--positive", help="Value of the target that is positive, of a binary task.")
@click.option("--key", help="Column that names a row.")
@click.option("--time", help="Column of the time of a row; the latest rows are held back.")
@click.option(
    "--group", help="Column whose equal values stay on one side; of a forecast, the name of the series."
)
@click.option("--horizon", type=click.IntRange(1, 100), help="Periods ahead, of a forecast.")
@click.option("--missing", multiple=True, help="Further text of a missing value; repeatable.")
@click.option("--drop-unlabelled", is_flag=True, help="Leave out rows without a target, in every training.")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Input that tells the target, and rightly so.")
@click.option("--unit", default="units", show_default=True, help="Unit of the target of a regression.")
@click.option("--licence", default="LicenseRef-own", show_default=True, help="Licence of the data (SPDX).")
@click.option("--consent", default="no person named", show_default=True, help="Why no consent is needed.")
@click.option(
    "--template",
    help="Kind of model (`perennial models templates`), or auto: the best. Default: network, if torch is there.",
)
@click.option("--seed", default=7, show_default=True, help="Seed of the split and of the training.")
@click.option(
    "--project", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder of your own models."
)
@click.option("--yes", is_flag=True, help="Write without asking.")
def init(
    model: str, path: str | None, query: str | None, connection: str | None, high_water: str | None,
    target: str, task: str | None, positive: str | None, key: str | None, time: str | None,
    group: str | None, horizon: int | None, missing: tuple[str, ...], drop_unlabelled: bool,
    keep: tuple[str, ...], unit: str,
    licence: str, consent: str, template: str | None, seed: int, folder: Path | None, yes: bool,
) -> None:  # fmt: skip
    """Make a model from a file, a folder or a query: show what the columns are taken for; write spec, checks, module.

    The statement about licence and consent is yours. --project makes a folder for your models where there is none;
    PERENNIAL_PROJECT names it to all later commands.
    """
    from perennial.core.governance.licensing import Consent, ConsentState, Terms
    from perennial.core.training.drafts.spec_draft import Draft
    from perennial.core.training.drafts.table_profile import Given
    from perennial.flows.training import new_model
    from perennial.history import datasets
    from perennial.wiring import new_model as new_model_wiring
    from perennial.wiring.new_model import query_rows, table_ports
    from perennial.wiring.tables import MISSING

    settings = _in_project(load(), folder)
    who, project = actor(settings), settings.project.resolve()
    sql = _query(query, connection, high_water, path)
    texts = () if sql else tuple(dict.fromkeys([*MISSING, *missing]))
    where, named = (query_rows(sql, model, settings), "") if sql else _origin(path or "", project)
    form, signs = new_model_wiring.csv_form(where, texts)
    texts = tuple(dict.fromkeys([*texts, *signs]))
    given = Given(
        target=target, task=task, key=key, time=time, group=group, positive=positive,  # type: ignore[arg-type]
        drops_unlabelled=drop_unlabelled,
    )  # fmt: skip
    inspection = new_model.inspect(given, keep, table_ports(where, texts, form), seed, unit, horizon)
    chosen, why = new_model_wiring.template(template, inspection.series is not None, inspection.has_text)
    draft = Draft(
        name=model,
        owner=who,
        path=named,
        missing=texts,
        form=form,
        entrypoint=f"models.{model}:{''.join(part.title() for part in model.split('_'))}",
        unit=unit,
        seed=seed,
        sql=sql,
        drops_unlabelled=drop_unlabelled,
        template=chosen.name,
        is_auto=template == "auto",
    )
    terms = Terms(licence=licence, consent=Consent(state=ConsentState.NOT_NEEDED, by=who, why=consent))
    stated = datasets.terms(settings.shipped("configs/datasets.yaml"), settings.configs / "sources.yaml")
    new = new_model.draft_files(draft, inspection, keep, project, terms)
    for line in _form(form, signs):
        print_text(line)
    _show(inspection, named or f"the query of {connection}", licence, consent, who, stated=model in stated)
    print_text(f"template: {chosen.name}, {chosen.about} ({why})")
    if not yes:
        click.confirm("Write the model?", abort=True)
    for written in new_model.write(new, project, stated, model):
        print_text(f"wrote {written.relative_to(project)}")
    if folder is not None and load().project != project:
        print_text(f"next: export PERENNIAL_PROJECT={shlex.quote(str(project))}")
    if not settings.signing_key_file.is_file():
        print_text("next: perennial local setup")
    print_text(f"next: perennial run {model}")


@click.command()
@click.argument("model")
@steps.workdir_option
@click.pass_context
def run(context: click.Context, model: str, workdir: Path | None) -> None:
    """Prepare, validate, train, evaluate and register a model: the steps of its DAG, one after another."""
    catalog.spec(model).trainable()
    for step in (steps.prepare, steps.validate, steps.train, steps.evaluate, steps.register):
        print_text(f"== {step.name} {model}")
        context.invoke(step, model=model, workdir=workdir)


def _in_project(settings: Settings, folder: Path | None) -> Settings:
    """Return the settings of the project in `folder`, which is made where it is missing."""
    if folder is None:
        if not (settings.configs / "sources.yaml").is_file():
            place = settings.project.resolve()
            raise UsageError(
                f"{place} is no project: configs/sources.yaml is missing",
                hint=f"add --project {shlex.quote(str(place))} to make it one, or name yours by PERENNIAL_PROJECT",
            )
        return settings
    from perennial.wiring.new_model import make_project

    folder = folder.resolve()
    if made := make_project(folder):
        print_text(f"new project {folder}: {', '.join(str(path.relative_to(folder)) for path in made)}")
    return settings.model_copy(update={"project": folder})


def _query(
    query: str | None, connection: str | None, high_water: str | None, path: str | None
) -> SqlRowsOf | None:
    from perennial.core.training.drafts.spec_draft import SqlRowsOf

    if (query is None) == (path is None):
        raise UsageError("one of --from and --from-sql is needed", hint="--from FILE, or --from-sql QUERY")
    if query is None:
        if connection or high_water:
            raise UsageError("--connection and --high-water belong to --from-sql", hint="leave them out")
        return None
    if connection is None:
        raise UsageError(
            "--from-sql needs --connection",
            hint="--connection SHOP_DATABASE names the environment variable with the address",
        )
    return SqlRowsOf(connection, query, high_water)


def _origin(path: str, project: Path) -> tuple[Path | str, str]:
    """Return the place of a file or folder, and its name in a spec: relative to the project where it is inside."""
    if path.startswith("s3://"):
        return path, path
    place = Path(path).resolve()
    return place, str(place.relative_to(project) if place.is_relative_to(project) else place)


def _form(form: CsvForm, signs: Mapping[str, str]) -> list[str]:
    """Return what was concluded about the form of a CSV file, where it is not the plain one."""
    stated = [
        f"{name} {value!r}"
        for name, value in form.model_dump(exclude_defaults=True, exclude={"units"}).items()
    ]
    lines = [f"form of the file: {', '.join(stated)}"] if stated else []
    lines += [
        f"unit: each number of {name} has {unit}, and is read without it" for name, unit in form.units.items()
    ]
    return lines + [
        f"missing: {sign!r}, since all else in {column} is a number" for sign, column in signs.items()
    ]


def _show(inspection: Inspection, path: str, licence: str, consent: str, who: str, stated: bool) -> None:
    profile = inspection.profile
    print_text(f"{path}: {profile.rows} rows, {len(profile.columns)} columns")
    rows = [
        (
            conclusion.column.name,
            conclusion.role.value,
            conclusion.kind.value if conclusion.kind else "",
            conclusion.reason,
        )
        for conclusion in profile.columns
    ]
    print_table(("column", "is", "type", "because"), rows)
    print_text(f"task: {profile.task} ({profile.task_reason})")
    if (series := inspection.series) is not None:
        of = series.task
        print_text(
            f"series: {len(series.names) or 1}, a value per {of.frequency.value}, season {of.season}; "
            f"{of.horizon} ahead from the last {of.past}; the {series.naive} has a MASE of {series.naive_mase:.3f}"
        )
    print_text(f"split: {profile.split.value} ({profile.split_reason})")
    if unlabelled := profile.target.missing:
        print_text(f"{unlabelled} rows without {profile.target.name} are left out")
    if inspection.repeated:
        rows = "1 row has" if inspection.repeated == 1 else f"{inspection.repeated} rows have"
        print_text(f"{rows} the same inputs as an earlier row")
    if stated:
        print_text("terms: as configs/sources.yaml states them")
    else:
        print_text(f"terms: licence {licence}; no consent needed: {consent}, says {who}")
