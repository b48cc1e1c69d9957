"""What the models of a plant use, from the owners of the figures: prediction log, MLflow, places of files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from perennial import catalog
from perennial.core.governance.identity import Role
from perennial.core.tenants.costs import Prices, Use
from perennial.object_storage import S3, storage
from perennial.settings import Settings
from perennial.wiring.accounts import sign_in

PRICES = "prices.yaml"


def prices(settings: Settings) -> Prices | None:
    """Return the prices of `configs/prices.yaml`; None where there is no such file.

    Raises:
        SpecError: it cannot be read.
    """
    path = settings.configs / PRICES
    if not path.is_file():
        return None
    try:
        return Prices.model_validate(catalog.read_yaml(path))
    except ValidationError as error:
        raise catalog.invalid(f"{path} are not prices", error, guide="tenants") from error


def uses(settings: Settings, since: datetime, until: datetime) -> Iterator[Use]:
    """Yield what each model that has a spec used in a period."""
    from perennial.adapters.mlflow.training_time import training_time
    from perennial.wiring.releasing import prediction_log

    sign_in(settings, Role.TRAINING)
    log = prediction_log(settings)
    for model in catalog.names(settings):
        timings = log.timings(model, since)
        shadow = timings.loc[timings["at"] < until, "shadow"]
        training = training_time(settings.tracking, model, since, until)
        kept = _bytes(str(settings.serving_dir / "log" / model))
        if settings.log_bucket is not None:
            kept += _bytes(f"{settings.log_bucket}/{model}")
        artifacts = 0 if training.artifacts is None else _bytes(training.artifacts)
        yield Use(model, int((~shadow).sum()), int(shadow.sum()), training.hours, kept, artifacts)


def _bytes(place: str) -> int:
    """Return the bytes of all files of a place: a folder, its `file:` address, or one in object storage."""
    if place.startswith(S3):
        with storage(place) as objects:
            return sum(each["size"] for each in objects.find(place.removeprefix(S3), detail=True).values())
    folder = Path(unquote(urlsplit(place).path)) if place.startswith("file:") else Path(place)
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
