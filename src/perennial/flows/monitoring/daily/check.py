"""Check the live rows of a day by the suites of the training data, profile them, and keep both with the reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import ValidationError

from perennial import catalog
from perennial.core.input_spec import by_name
from perennial.core.monitoring.day_check import BrokenRule, ColumnProfile, DayCheck, KeptChecks
from perennial.core.monitoring.drift import SCORE
from perennial.core.monitoring.upstream import newly_missing
from perennial.core.monitoring.volume import MOST_DAYS, DayRequests, requests_of, volumes
from perennial.core.release.traffic import Target
from perennial.core.spec import ModelSpec
from perennial.core.training.data import FailedRule
from perennial.core.training.expectations import Suite
from perennial.errors import MalformedInput, UsageError
from perennial.files import write_text
from perennial.flows.feedback.votes import request_of
from perennial.flows.monitoring.daily.answers import answers_of
from perennial.flows.monitoring.daily.live_rows import live_rows
from perennial.flows.monitoring.reference import reference_rows
from perennial.ports import PredictionLog, Profiler, Registry, Router, Validator

if TYPE_CHECKING:
    import pandas as pd

DAY = timedelta(days=1)
KEPT_DAYS = 90


@dataclass(frozen=True)
class CheckPorts:
    router: Router
    registry: Registry
    predictions: PredictionLog
    validator: Validator
    profiler: Profiler
    newest_feature: Callable[[], Mapping[str, datetime]]
    """Returns the time of the newest stored feature value by model."""


@dataclass(frozen=True)
class CheckFolders:
    references: Path
    reports: Path
    expectations: Path


def check_day(
    spec: ModelSpec, ports: CheckPorts, folders: CheckFolders, day: date, now: datetime
) -> DayCheck | None:
    """Check a day (UTC) and keep its result and its profile, in place of earlier ones of that day.

    Returns:
        None where no version has traffic.

    Raises:
        UsageError: the day has not ended; its check would hide those of the days before.
        UnknownVersion, MalformedInput: see `reference_rows`.
        SpecError: a suite is missing, or a rule is wrong.
    """
    begin = datetime.combine(day, time(), UTC)
    if begin + DAY > now:
        raise UsageError(
            f"the day {day} (UTC) has not ended, so its rows cannot be checked",
            hint=f"the newest day that has ended is {(now.astimezone(UTC) - DAY).date()}",
        )
    route = ports.router.route(spec.name)
    if route is None:
        return None
    target = route.stable
    reference = reference_rows(spec, ports.registry, target, folders.references)
    answers = answers_of(spec, ports.predictions, target, begin)
    rows = answers.rows
    requests = _requests(spec.name, ports.predictions, begin)
    suites = [
        catalog.suite(folders.expectations / file) for file in dict.fromkeys(spec.data.expectations.values())
    ]
    table = live_rows(spec, rows)
    results = [_checked(suite, table, ports.validator) for suite in suites] if len(rows) else []
    newest = ports.newest_feature().get(spec.name)
    check = DayCheck(
        model=spec.name,
        digest=target.digest,
        day=day,
        made=now,
        rows=len(rows),
        answers=answers.count,
        checked=sum(count for count, _, _ in results),
        unchecked=tuple(text for _, texts, _ in results for text in texts),
        broken=tuple(rule for _, _, broken in results for rule in broken),
        columns=_differing(spec, reference, rows) if len(rows) else (),
        missing=_missing(spec, reference, rows) if len(rows) else (),
        requests=requests,
        volumes=volumes(_earlier(spec.name, ports.predictions, folders.reports, begin), requests, begin),
        features_age=None if newest is None else now - newest,
        promised_age=spec.slo.features_age,
        limits=spec.monitoring.upstream,
    )
    profile = profile_path(folders.reports, spec.name, day)
    if len(rows):
        ports.profiler.profile(table.join(rows[SCORE]), profile)
    else:
        profile.unlink(missing_ok=True)  # an earlier check may have been of another champion
    write_text(_path(folders.reports, spec.name, day), check.model_dump_json(indent=2) + "\n")
    _keep_newest(_folder(folders.reports, spec.name))
    return check


def newest_check(
    reports: Path, spec: ModelSpec, target: Target, now: datetime
) -> tuple[DayCheck | None, tuple[str, ...]]:
    """Return the newest check, and the problem if its file cannot be read: a look must not end by it.

    None without one, if it is of another champion or too old to speak of today.
    """
    try:
        check = _newest(reports, spec.name)
    except MalformedInput as error:
        return None, (f"the check of a day is not shown: {error.message} ({error.hint})",)
    speaks = check is not None and check.digest == target.digest and check.is_newer(now)
    return check if speaks else None, ()


def kept_checks(reports: Path, model: str, since: date, profiler: Callable[[], Profiler]) -> KeptChecks:
    """Return the newest check that can be read, and the columns of all profiles since a day together.

    A damaged file is left out and told; the check of its day can be made anew.
    """
    unread: list[str] = []
    newest = None
    for path in sorted(_folder(reports, model).glob("*.json"), reverse=True):
        try:
            newest = _read(path)
            break
        except MalformedInput as error:
            unread.append(f"{error.message} ({error.hint})")
    kept = sorted(_folder(reports, model).glob("*.bin"))
    paths = [path for path in kept if date.fromisoformat(path.stem) >= since]
    columns = _merged(paths, profiler(), unread) if paths else ()
    return KeptChecks(newest, columns, tuple(unread))


def _merged(paths: Sequence[Path], profiler: Profiler, unread: list[str]) -> tuple[ColumnProfile, ...]:
    """Return the columns of all profiles that can be read; add what to do about the others to `unread`."""
    try:
        return profiler.merged(paths)
    except MalformedInput:
        readable = []
        for path in paths:
            try:
                profiler.merged([path])
                readable.append(path)
            except MalformedInput as error:
                unread.append(f"{error.message} ({_made_anew(path)})")
        return profiler.merged(readable)


def _newest(reports: Path, model: str) -> DayCheck | None:
    paths = sorted(_folder(reports, model).glob("*.json"))
    return _read(paths[-1]) if paths else None


def profile_path(reports: Path, model: str, day: date) -> Path:
    """Return the file of the profile of a day."""
    return _folder(reports, model) / f"{day}.bin"


def _folder(reports: Path, model: str) -> Path:
    return reports / "daily" / model


def _path(reports: Path, model: str, day: date) -> Path:
    return _folder(reports, model) / f"{day}.json"


def _read(path: Path) -> DayCheck:
    try:
        return DayCheck.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise MalformedInput(
            f"{path} is no check of a day as this version writes it: {error}",
            hint=_made_anew(path),
        ) from error
    except OSError as error:
        raise MalformedInput(
            f"{path} cannot be read: {error.strerror}", hint="let the account of the monitor read it"
        ) from error


def _made_anew(path: Path) -> str:
    """Return what to do about a damaged file of a day."""
    return f"perennial monitor check {path.parent.name} --day {path.stem} makes it anew"


def _keep_newest(folder: Path) -> None:
    for ending in ("json", "bin"):
        for path in sorted(folder.glob(f"*.{ending}"))[:-KEPT_DAYS]:
            path.unlink(missing_ok=True)


def _differing(spec: ModelSpec, reference: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the features of the spec that either the reference or some request lacks."""
    asked = [set(json.loads(text)) for text in rows["names"].unique()]
    known = [name in reference for name in spec.features.names]
    return tuple(
        name
        for name, is_known in zip(spec.features.names, known, strict=True)
        if any((name in names) != is_known for names in asked)
    )


def _checked(
    suite: Suite, table: pd.DataFrame, validator: Validator
) -> tuple[int, list[str], list[BrokenRule]]:
    """Return how many rules of a suite were checked, which were not, and which are broken."""
    kept, left = [], []
    for rule in suite.expectations:
        columns = rule.about.split(", ") if rule.about else []
        if rule.is_about_rows and columns and all(column in table for column in columns):
            kept.append(rule)
        else:
            condition = ", by row_condition" if rule.condition else ""
            left.append(f"{suite.name}: {rule.about or 'table'}: {rule.type}{condition}")
    if not kept:
        return 0, left, []
    with TemporaryDirectory() as aside:  # its pages would show rows of clients
        report = validator.check(Suite(name=suite.name, expectations=tuple(kept)), table, Path(aside))
    raised = [rule for rule in report.failed if not rule.broken]  # no row breaks it: it could not be checked
    left += [f"{suite.name}: {rule.column or 'table'}: {rule.rule}: {rule.observed}" for rule in raised]
    broken = [_broken(suite.name, rule, len(table)) for rule in report.failed if rule.broken]
    return len(kept) - len(raised), left, broken


def _broken(suite: str, rule: FailedRule, rows: int) -> BrokenRule:
    share = rule.broken / rows
    return BrokenRule(suite=suite, rule=rule.rule, column=rule.column, observed=rule.observed, share=share)


def _missing(spec: ModelSpec, reference: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, ...]:
    columns = {
        name: (reference[name].to_numpy(dtype=float), rows[name].to_numpy(dtype=float))
        for name in _firsts(spec)
        if name in reference and name in rows
    }
    return newly_missing(
        columns,
        reference[spec.evaluation.group].to_numpy(),
        request_of(rows).to_numpy(dtype=str),
        spec.monitoring.upstream.newly_missing,
    )


def _firsts(spec: ModelSpec) -> Iterator[str]:
    """Yield a column for each input: the numbers of an array, and the counts of a text, are missing together."""
    names = spec.features.names
    counted = spec.features.bucket_columns
    for places in by_name(spec.features.inputs, names).values():
        if names[places[0]] not in counted:
            yield names[places[0]]


def _earlier(model: str, log: PredictionLog, reports: Path, begin: datetime) -> list[DayRequests]:
    """Return the requests of the days before: as a check of that day counted them, else from the log."""
    return [
        _counted(reports, model, day.date()) or _requests(model, log, day)
        for day in (begin - number * DAY for number in range(MOST_DAYS, 0, -1))
    ]


def _counted(reports: Path, model: str, day: date) -> DayRequests | None:
    path = _path(reports, model, day)
    try:
        return _read(path).requests if path.is_file() else None
    except MalformedInput:
        return None  # the log knows them, too


def _requests(model: str, log: PredictionLog, begin: datetime) -> DayRequests:
    asked = log.timings(model, begin, until=begin + DAY)
    asked = asked[~asked["shadow"].astype(bool)]
    return requests_of((asked["at"] - begin).dt.total_seconds().to_numpy(dtype=float))
