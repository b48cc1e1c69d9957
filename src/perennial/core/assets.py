"""Names of the Airflow assets between the DAGs of a model, and the reasons for a training that their events carry."""

from __future__ import annotations

from enum import StrEnum


def retrain_asset(model: str) -> str:
    """Return the name of the asset whose events start the training DAG."""
    return f"perennial/{model}/retrain"


def candidate_asset(model: str) -> str:
    """Return the name of the asset whose events start the release DAG."""
    return f"perennial/{model}/candidate"


def asset_uri(name: str) -> str:
    """Return the URI that Airflow wants beside the name of an asset."""
    return name.replace("/", "://", 1)


class Reason(StrEnum):
    """Reason for a training."""

    BOOTSTRAP = "bootstrap"
    DRIFT = "drift"
    ACCURACY = "accuracy"
    LABELS = "labels"
    """Enough new labels came (`retraining.enough_labels`)."""
    SCHEDULE = "schedule"
    PERSON = "person"
    EXPERIMENT = "experiment"
