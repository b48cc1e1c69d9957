"""Templates for the model of a table, with the packages that each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perennial.errors import PackageMissing, UsageError


@dataclass(frozen=True)
class Template:
    """A model class that a project's module is made over."""

    name: str
    address: str
    """module:class"""
    architecture: str
    extra: str
    """Extra of the package `perennial` that installs what it needs."""
    packages: tuple[str, ...]
    """Modules that must be importable."""
    about: str
    trees: bool = False
    """Its double thresholds become float32 in ONNX: a share of the rows may differ (`gate.parity`)."""


_HERE = "perennial.models.templates"
TEMPLATES = {
    template.name: template
    for template in (
        Template(
            "network",
            f"{_HERE}.table_network:TableNetwork",
            "table-network/1",
            "torch",
            ("torch", "onnxscript"),
            "ensemble of small networks",
        ),
        Template(
            "linear",
            f"{_HERE}.linear:Linear",
            "linear/1",
            "sklearn",
            ("skl2onnx",),
            "logistic or ridge regression",
        ),
        Template(
            "forest",
            f"{_HERE}.forest:Forest",
            "forest/1",
            "sklearn",
            ("skl2onnx",),
            "random forest",
            trees=True,
        ),
        Template(
            "lightgbm",
            f"{_HERE}.boosting:LightGbm",
            "lightgbm/1",
            "lightgbm",
            ("lightgbm", "onnxmltools", "skl2onnx"),
            "gradient boosted trees of LightGBM",
            trees=True,
        ),
        Template(
            "xgboost",
            f"{_HERE}.boosting:XgBoost",
            "xgboost/1",
            "xgboost",
            ("xgboost", "onnxmltools", "skl2onnx"),
            "gradient boosted trees of XGBoost",
            trees=True,
        ),
    )
}
FORECAST = Template(
    "lags",
    f"{_HERE}.lag_network:LagNetwork",
    "lag-network/1",
    "torch",
    ("torch", "onnxscript"),
    "naive forecast that a small network corrects",
)
"""The template of forecasts; those of `TEMPLATES` answer a row of a table."""
TEXT = Template(
    "text",
    f"{_HERE}.text:TextNetwork",
    "text-network/1",
    "torch",
    ("torch", "onnxscript"),
    "network over hashed texts, and any other inputs beside them",
)
"""The template of rows with a text; those of `TEMPLATES` take its counts for numbers like others."""


def template_of(name: str) -> Template:
    """Return a template.

    Raises:
        UsageError: there is none of that name.
    """
    known = {**TEMPLATES, FORECAST.name: FORECAST, TEXT.name: TEXT}
    if name not in known:
        raise UsageError(f"no template is named {name!r}", hint=f"templates: {', '.join(known)}")
    return known[name]


def extra_of(name: str) -> tuple[tuple[str, ...], str]:
    """Return the modules that a template imports, and the extra that installs them."""
    template = template_of(name)
    return template.packages, template.extra


def missing_packages(template: Template, installed: Callable[[str], bool]) -> list[str]:
    """Return the modules of a template that are not installed."""
    return [name for name in template.packages if not installed(name)]


def usual_template(installed: Callable[[str], bool]) -> tuple[Template, str]:
    """Return the template of a model whose maker names none, and why.

    Raises:
        PackageMissing: no template has its packages.
    """
    for name, reason in USUAL.items():
        template = TEMPLATES[name]
        if not missing_packages(template, installed):
            return template, reason
    raise PackageMissing("no template has its packages here", hint="pip install 'perennial[sklearn]'")


USUAL = {
    "network": "it learns curves and thresholds alike, on few rows and many",
    "lightgbm": "torch is not installed",
    "forest": "neither torch nor LightGBM is installed",
}
"""Templates in the order of choice, with the reason."""
