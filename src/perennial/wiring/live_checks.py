"""Adapters of the daily check of live rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from perennial.settings import Settings

if TYPE_CHECKING:
    from perennial.core.monitoring.day_check import KeptChecks
    from perennial.core.spec import ModelSpec
    from perennial.flows.monitoring.daily.check import CheckFolders, CheckPorts
    from perennial.ports import Profiler


def check_ports(spec: ModelSpec, settings: Settings) -> CheckPorts:
    """Return the ports of a model's daily check."""
    from perennial.adapters.feast.freshness import by_model
    from perennial.flows.monitoring.daily.check import CheckPorts
    from perennial.wiring import releasing, traffic, training, versions

    return CheckPorts(
        router=traffic.router(settings),
        registry=versions.registry(settings),
        predictions=releasing.prediction_log(settings),
        validator=training.validator(),
        profiler=profiler(),
        newest_feature=lambda: by_model(settings.feast_dir, [spec]),
    )


def folders(settings: Settings) -> CheckFolders:
    """Return the folders of daily checks."""
    from perennial.flows.monitoring.daily.check import CheckFolders

    return CheckFolders(
        references=settings.state / "monitor" / "references",
        reports=settings.reports,
        expectations=settings.configs / "expectations",
    )


def kept(settings: Settings) -> Callable[[str, date], KeptChecks]:
    """Return what reads the newest check of a model and its merged profiles since a day."""
    from perennial.flows.monitoring.daily.check import kept_checks

    return lambda model, since: kept_checks(settings.reports, model, since, profiler)


def profiler() -> Profiler:
    """Return what makes and merges profiles; the library loads for seconds."""
    from perennial.adapters.whylogs.profiler import WhylogsProfiler

    return WhylogsProfiler()
