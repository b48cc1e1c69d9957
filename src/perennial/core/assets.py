"""Names of the Airflow assets between the DAGs of a model, for the DAG that raises an event and its listener."""

from __future__ import annotations


def retrain_asset(model: str) -> str:
    """Return the name of the asset whose events start the training DAG."""
    return f"perennial/{model}/retrain"


def candidate_asset(model: str) -> str:
    """Return the name of the asset whose events start the release DAG."""
    return f"perennial/{model}/candidate"


def asset_uri(name: str) -> str:
    """Return the URI that Airflow wants beside the name of an asset."""
    return name.replace("/", "://", 1)
