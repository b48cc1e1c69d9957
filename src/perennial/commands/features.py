"""`perennial features`: publish feature tables, push newest values, look them up, propose windows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perennial import catalog
from perennial.commands.output import JSON, now, print_json, print_text
from perennial.commands.training.propose import propose
from perennial.core.spec import ModelSpec
from perennial.errors import UnknownEntity, UsageError
from perennial.settings import Settings, load
from perennial.wiring import training

if TYPE_CHECKING:
    from perennial.flows.training.materialise import Publication


@click.group()
def features() -> None:
    """Publish feature tables and look up online values."""


@features.command()
@click.argument("model")
@click.option(
    "--workdir", type=click.Path(path_type=Path), help="Publish the tables that `validate` checked here."
)
def publish(model: str, workdir: Path | None) -> None:
    """Publish the features of the whole history: tables for training, newest values online."""
    from perennial.flows.training import materialise

    settings = load()
    spec = catalog.spec(model, settings)
    if workdir is not None:
        from perennial.flows.training.workdir import Workdir

        work = Workdir(workdir.resolve())
        names = materialise.publish_checked(spec, work, training.features(settings))
        print_text(f"published: {', '.join(names) or 'nothing, the caller sends every input'}")
        return
    if spec.features.source == "request":
        print_text(f"{model}: the caller sends every input, there is nothing to publish")
        return
    if spec.data.rows_name == "table":
        _publish_table(spec, settings)
        return
    published = materialise.publish(
        spec, training.source(spec, settings).read, training.preparation(spec), training.features(settings)
    )
    _say("published", published)


@features.command()
@click.argument("model")
@click.option("--since-cycle", type=int, help="First cycle to push  [default: the last cycle]")
def push(model: str, since_cycle: int | None) -> None:
    """Write the newest values of the last cycles online, without a whole publication."""
    from perennial.flows.training import materialise

    settings = load()
    spec = _stored(model, settings)
    if spec.data.rows_name == "table":
        _publish_table(spec, settings)
        return
    history = training.source(spec, settings).read()
    features = training.features(settings)
    pushed = materialise.push(spec, history, training.preparation(spec), features, since=since_cycle)
    _say("pushed", pushed)


@features.command()
@click.argument("model")
@click.option(
    "--entity", "entities", multiple=True, metavar="KEY=VALUE", help="Repeat for each key of the model."
)
@click.option(
    "--request",
    "requests",
    multiple=True,
    metavar="NAME=VALUE",
    help="Request value; repeat for each. A missing timestamp is now.",
)
@JSON
def show(model: str, entities: tuple[str, ...], requests: tuple[str, ...], as_json: bool) -> None:
    """Show the online values that the model gets now."""
    settings = load()
    spec = _stored(model, settings)
    keys = _pairs(entities, "--entity", spec.features.entities)
    row = {**keys, **_request(spec, requests, now())}
    (values,) = training.features(settings).online(spec.features, [row])
    if values is None:
        raise UnknownEntity(
            f"no features are known for {keys}",
            hint=f"check the keys, or `perennial features publish {model}`",
        )
    if as_json:
        print_json({name: _shown(values[name]) for name in spec.features.stored})
        return
    width = max(map(len, spec.features.stored))
    for name in spec.features.stored:
        value = _shown(values[name])
        text = f"{value:g}" if isinstance(value, int | float) else value
        if isinstance(value, list):
            text = " ".join(f"{number:g}" for number in value)
        print_text(f"{name:<{width}}  {'not known' if value is None else text}")


features.add_command(propose)


def _publish_table(spec: ModelSpec, settings: Settings) -> None:
    from perennial.flows.training import materialise

    rows = training.source(spec, settings).read()
    done = materialise.publish_table(rows, training.preparation(spec), training.features(settings))
    for name, count in done.items():
        print_text(f"published {name}: {count} rows")


def _stored(model: str, settings: Settings) -> ModelSpec:
    spec = catalog.spec(model, settings)
    if spec.features.source == "request":
        raise UsageError(f"{model} has no stored features", hint="its caller sends every input")
    return spec


def _pairs(given: tuple[str, ...], option: str, wanted: tuple[str, ...]) -> dict[str, str]:
    """Parse `name=value` texts into a mapping with exactly the wanted names."""
    pairs = dict(text.partition("=")[::2] for text in given)
    if set(pairs) != set(wanted) or not all(pairs.values()):
        raise UsageError(
            f"{option} gives {', '.join(given) or 'nothing'}",
            hint=" ".join(f"{option} {name}=..." for name in wanted),
        )
    return {name: pairs[name] for name in wanted}


def _request(spec: ModelSpec, given: tuple[str, ...], at: datetime) -> dict[str, Any]:
    kinds = spec.features.request
    named = {text.partition("=")[0] for text in given}
    moments = {
        name: at.timestamp() for name, kind in kinds.items() if kind == "timestamp" and name not in named
    }
    pairs = _pairs(given, "--request", tuple(name for name in kinds if name not in moments))
    return moments | {name: _typed(name, kinds[name], text) for name, text in pairs.items()}


def _typed(name: str, kind: str, text: str) -> Any:
    readers: Mapping[str, Any] = {"int": int, "float": float, "string": str, "timestamp": _moment}
    try:
        return readers[kind](text)
    except ValueError as error:
        raise UsageError(
            f"--request {name}={text} is no {kind}: {error}", hint="correct the value"
        ) from error


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone; add Z for UTC")
    return moment.timestamp()


def _shown(value: Any) -> int | float | str | list[float] | None:
    """Return a value as JSON has it; None for one that is not known."""
    if isinstance(value, list):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return None if value is None or value != value else value


def _say(done: str, what: Publication) -> None:
    for name, rows in what.rows.items():
        print_text(f"{done} {name}: {rows} rows")
    print_text(f"known up to cycle {what.last}")
