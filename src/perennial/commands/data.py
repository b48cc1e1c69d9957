"""`perennial data`: tables, and CI histories to fetch, import, simulate and look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perennial.commands.output import JSON, now, print_json, print_records, print_table, print_text
from perennial.commands.training.kept_tables import append, import_csv, import_sql
from perennial.settings import Settings, load
from perennial.wiring import training

if TYPE_CHECKING:
    from perennial.flows.training.ingest import IngestResult
    from perennial.history.datasets import Dataset

history_option = click.option("--history", default="ci", show_default=True, help="Name of the CI history.")

SHOWN = 20
"""Most lines about what could not be read."""


@click.group(commands=[import_csv, import_sql, append])
def data() -> None:
    """Import tables; fetch, import, simulate and look at CI histories."""


@data.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List the data sets of the catalogue and the histories on this machine."""
    settings = load()
    entries = _catalogue(settings).values()
    histories = training.history_store(settings).names()
    if as_json:
        sets = [entry.model_dump(mode="json") for entry in entries]
        print_json({"datasets": sets, "histories": histories})
        return
    rows = [(entry.name, entry.format, entry.licence, entry.title) for entry in entries]
    print_table(("data set", "format", "licence", "title"), rows)
    print_text(f"histories: {', '.join(histories) or 'none'}")


@data.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Fetch a data set from the mirror folder or its public address, verified by SHA-256."""
    settings = load()
    print_text(str(_fetch(settings, _entry(settings, name))))


@data.command()
@click.argument("name")
@history_option
@click.option("--from-cycle", type=int, help="First cycle to take (inclusive).")
@click.option("--until-cycle", type=int, help="Last cycle to take (inclusive).")
def ingest(name: str, history: str, from_cycle: int | None, until_cycle: int | None) -> None:
    """Add a data set, or some of its cycles, to a history. A repetition changes nothing."""
    from perennial.flows.training import ingest as flow

    settings = load()
    done = flow.dataset(
        training.history_store(settings),
        history,
        _entry(settings, name),
        lambda entry: _fetch(settings, entry),
        now(),
        from_cycle=from_cycle,
        until_cycle=until_cycle,
    )
    _say(done)


@data.command("import-junit")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@history_option
@click.option("--suite", default="ci", show_default=True, help="Name of the CI job of the reports.")
@click.option(
    "--by",
    type=click.Choice(["folder", "path", "file"]),
    default="folder",
    show_default=True,
    help="Files of a build (CI cycle): those of a parent folder, all below a given PATH (modules of a build), "
    "or each file alone.",
)
@click.option(
    "--undated",
    type=click.Choice(["error", "file-time"]),
    default="error",
    show_default=True,
    help="Treatment of a report without a timestamp (older Maven): an error, or the time of its file.",
)
@click.option(
    "--timezone", default="UTC", show_default=True,
    help="Zone of times without a zone, such as Europe/Berlin or +09:00.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Import nothing if a report, a test or a build cannot be taken.")
def import_junit(
    paths: tuple[Path, ...], history: str, suite: str, by: str, undated: str, timezone: str, strict: bool
) -> None:
    """Import test reports of your own CI: JUnit XML, xUnit.net, NUnit, TestNG, TRX, CTRF; oldest builds first."""
    from perennial.errors import UsageError
    from perennial.flows.training import ingest as flow
    from perennial.history.reports.times import zone_of

    try:
        zone = zone_of(timezone)
    except ValueError as error:
        raise UsageError(
            f"--timezone: {error}", hint="an IANA name such as Europe/Berlin, or an offset such as +09:00"
        ) from error
    store = training.history_store(load())
    done, read = flow.junit(store, history, list(paths), suite, by, undated, now(), zone, strict)
    print_text(
        f"{read.reports} new reports, {read.known} known already; {read.cycles} cycles, "
        f"{read.skipped} skipped tests left out"
    )
    if read.untimed:
        print_text(f"{read.untimed} tests without a duration, taken as 0 ms")
    if read.suite_errors:
        print_text(
            f"{read.suite_errors} suites failed without a test (they do not compile, or their set-up failed)"
        )
    for line in read.left_out[:SHOWN]:
        print_text(f"not read: {line}")
    if len(read.left_out) > SHOWN:
        print_text(f"not read: {len(read.left_out) - SHOWN} more; --strict stops at the first")
    for path in read.retracted:
        print_text(f"left out, because it was retracted before: {path} (perennial data log {history})")
    _say(done)


@data.command()
@history_option
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--cycles", type=click.IntRange(min=1), help="CI cycles  [default: 200]")
@click.option("--scenario", type=click.Path(path_type=Path), help="YAML file of a scenario with drifts.")
def simulate(history: str, seed: int, cycles: int | None, scenario: Path | None) -> None:
    """Simulate a CI history with drifts at known cycles. The same seed gives the same history."""
    from perennial.flows.training import ingest as flow

    given = {"seed": seed} | ({"cycles": cycles} if cycles else {})
    chosen = _scenario(scenario, given)
    done = flow.simulation(training.history_store(load()), history, chosen, now())
    _say(done)
    for drift in chosen.planted:
        print_text(f"planted: {drift.kind} from cycle {drift.at_cycle}, share {drift.share:.0%} of the tests")


@data.command()
@click.option(
    "--source", type=click.Choice(["auto", "iofrol", "simulator"]), default="auto", show_default=True
)
@history_option
@click.option("--until-cycle", type=int, help="Last cycle of real data to take (inclusive).")
def bootstrap(source: str, history: str, until_cycle: int | None) -> None:
    """Fill an empty history with real data if available, else with simulated data; print which."""
    from perennial.flows.training import ingest as flow
    from perennial.history.simulator import SimulationScenario

    settings = load()
    done = flow.bootstrap(
        training.history_store(settings),
        history,
        source,
        _entry(settings, "iofrol"),
        lambda entry: _fetch(settings, entry),
        SimulationScenario(),
        now(),
        until_cycle=until_cycle,
    )
    _say(done)


@data.command()
@click.argument("history")
@JSON
def show(history: str, as_json: bool) -> None:
    """Show the content and the source of a history."""
    from perennial.history.store import summary

    store = training.history_store(load())
    figures = summary(store.load(history)) | {"source": store.source(history).model_dump(mode="json")}
    if as_json:
        print_json(figures)
        return
    print_text(f"history {history}: {figures['source']['source']} ({figures['source']['why']})")
    shown = {name: value for name, value in figures.items() if name != "source"}
    shown["failure_rate"] = f"{figures['failure_rate']:.1%}"
    print_table(("", ""), [(name.replace("_", " "), str(value)) for name, value in shown.items()])


@data.command()
@click.argument("history")
@JSON
def log(history: str, as_json: bool) -> None:
    """List the imports of a history with their ids, and what was retracted of them."""
    store = training.history_store(load())
    imports = [record.model_dump(mode="json") for record in store.imports(history)]
    retractions = [made.model_dump(mode="json") for made in store.retractions(history)]
    if as_json:
        print_json({"imports": imports, "retractions": retractions})
        return
    print_records([{name: str(value) for name, value in record.items()} for record in imports], False)
    for made in store.retractions(history):
        print_text(
            f"retracted {made.at:%Y-%m-%d %H:%M:%S} by {made.actor}: {made.of}, {made.executions} executions: "
            f"{made.reason}"
        )


@data.command()
@click.argument("history")
@click.option("--cycle", type=int, help="Number of the cycle to take out.")
@click.option("--import", "import_id", help="Id of the import to take out, from `perennial data log`.")
@click.option("--reason", required=True, help="Reason in words, for the ledger.")
def retract(history: str, cycle: int | None, import_id: str | None, reason: str) -> None:
    """Take a cycle or a whole import out of a history. A repetition changes nothing."""
    from perennial.commands.identity import steering_actor
    from perennial.errors import UsageError
    from perennial.flows.governance.retract import retract as flow
    from perennial.wiring import database

    if cycle is not None and import_id is None:
        which: int | str = cycle
    elif import_id is not None and cycle is None:
        which = import_id
    else:
        raise UsageError("give either --cycle or --import", hint=f"perennial data log {history}")
    settings = load()
    made, new = flow(
        training.history_store(settings), history, which, reason, steering_actor(settings, "retract").name,
        training.data_store(settings), database.store(settings).ledger, now(),
    )  # fmt: skip
    done = "taken out" if new else f"out already since {made.at:%Y-%m-%d %H:%M:%S}"
    print_text(f"history {history}: {made.of}: {made.executions} executions {done} ({made.reason})")
    if new:
        print_text("next: `perennial prepare MODEL` and `perennial features publish MODEL`")


def _catalogue(settings: Settings) -> dict[str, Dataset]:
    from perennial.history import datasets

    return datasets.catalogue(settings.shipped("configs/datasets.yaml"))


def _entry(settings: Settings, name: str) -> Dataset:
    from perennial.history import datasets

    return datasets.find(_catalogue(settings), name)


def _fetch(settings: Settings, entry: Dataset) -> Path:
    """Fetch with a progress bar on stderr, shown only for a download."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(entry.name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(entry.name, total=None, visible=False)

        def seen(so_far: int, total: int | None) -> None:
            bar.update(task, completed=so_far, total=total, visible=True)

        return training.dataset_files(settings).fetch(entry, seen)


def _scenario(path: Path | None, given: dict[str, int]):
    from pydantic import ValidationError

    from perennial.catalog import read_yaml
    from perennial.errors import SpecError, UsageError
    from perennial.history.simulator import SimulationScenario

    if path is None:
        return SimulationScenario(**given)
    if not path.is_file():
        raise UsageError(f"there is no scenario {path}", hint="a YAML file with keys of Scenario")
    try:
        return SimulationScenario.model_validate(given | read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SpecError(f"{path}: {where}: {first['msg']}", hint="see history/simulator.py") from error


def _say(done: IngestResult) -> None:
    print_text(
        f"history {done.history}: {done.added} executions added, up to cycle {done.last_cycle}; "
        f"source: {done.source} ({done.why})"
    )
    if done.retracted:
        print_text(
            f"{done.retracted} executions left out: retracted before (perennial data log {done.history})"
        )
