"""The trained object of a run, in MLflow's flavour of its framework, beside the ONNX file that is served."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import mlflow

from perennial.hidden_packages import BY_SKOPS, hidden

PIPELINES = frozenset({"sklearn", "lightgbm", "xgboost"})
"""Frameworks whose object is a pipeline of scikit-learn; the estimator alone takes other inputs than the model."""
TRUSTED = [
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
]
"""Types of these pipelines that skops has not on its own list of harmless ones."""


def log_native(framework: str, native: Any, given: Mapping[str, Any]) -> None:
    """Log the trained object to the active run; an object of another framework is left out.

    A pipeline is kept by skops, which runs no code when it is read. Perennial itself never reads these files.

    Args:
        given: `input_example` and `signature`, as `log_model` takes them.
    """
    if framework == "pytorch":
        mlflow.pytorch.log_model(native, name="pytorch", pip_requirements=pinned("numpy", "torch"), **given)
    elif framework in PIPELINES:
        import_skops()
        libraries = [] if framework == "sklearn" else [framework]
        mlflow.sklearn.log_model(
            native,
            name=framework,
            serialization_format="skops",
            skops_trusted_types=TRUSTED,
            pip_requirements=pinned("numpy", "sklearn", "skops", *libraries),
            **given,
        )


def import_skops() -> None:
    """Import skops in half the time."""
    with hidden(*BY_SKOPS):
        import skops.io  # noqa: F401


def pinned(*modules: str) -> list[str]:
    """Return the distributions of modules with their installed version, without the build tag."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in map(_distribution, modules)]


def _distribution(module: str) -> str:
    """Return the distribution of a module, which mostly has its name: a search reads the file lists of all packages."""
    name = {"sklearn": "scikit-learn"}.get(module, module)
    try:
        version(name)
    except PackageNotFoundError:
        return packages_distributions()[module][0]
    return name
