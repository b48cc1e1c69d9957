"""Reading of model specs and check suites: the only reader of `configs/models` and `configs/expectations`."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from perennial.core.feature_view import ViewSpec
from perennial.core.spec import ModelSpec
from perennial.core.training.expectations import Suite
from perennial.errors import SpecError, UnknownModel
from perennial.settings import Settings, load

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Of a thousand specs each takes 2 ms with the loader in C, and 16 with the one in Python."""
LOG = logging.getLogger(__name__)


def names(settings: Settings | None = None) -> list[str]:
    """Return the names of all models with a spec, sorted."""
    folder = (settings or load()).configs / "models"
    return sorted(path.stem for path in folder.glob("*.yaml"))


def spec(name: str, settings: Settings | None = None) -> ModelSpec:
    """Read a spec and apply the overlay of the settings.

    Raises:
        UnknownModel: there is no spec with this name.
        SpecError: the file is not YAML, or a key is unknown, missing or wrong.
    """
    settings = settings or load()
    path, *overlays = spec_files(name, settings)
    if not path.is_file():
        known = names(settings)
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UnknownModel(f"no model is named {name!r}", hint=f"{meant}known: {', '.join(known) or 'none'}")
    content, source = read_yaml(path), str(path)
    for overlay in overlays:
        if overlay.is_file():
            content, source = lay_over(content, read_yaml(overlay)), f"{path} under {overlay}"
    return parse(content, path, source)


def spec_files(name: str, settings: Settings) -> list[Path]:
    """Return the file of a spec and that of its overlay; they may be missing."""
    overlays = [] if settings.spec_overlay is None else [settings.project / settings.spec_overlay]
    return [folder / f"{name}.yaml" for folder in (settings.configs / "models", *overlays)]


def specs(settings: Settings | None = None, among: Sequence[str] | None = None) -> list[ModelSpec]:
    """Read the specs of the models `among`, by default of all.

    A wrong spec stops its own model only, and is reported as an error of the log.
    """
    sound, wrong = read_all(settings, among)
    for error in wrong.values():
        LOG.error("%s: %s", type(error).__name__, error.message)
    return sound


def read_all(
    settings: Settings | None = None, among: Sequence[str] | None = None
) -> tuple[list[ModelSpec], dict[str, SpecError]]:
    """Return the sound specs, and the error of each wrong spec by the name of its model.

    Args:
        among: names of the models to read; None: all.
    """
    settings = settings or load()
    sound, wrong = [], {}
    for name in names(settings) if among is None else among:
        try:
            sound.append(spec(name, settings))
        except SpecError as error:
            wrong[name] = error
    return sound, wrong


def parse(content: dict[str, Any], path: Path, source: str = "") -> ModelSpec:
    """Validate the content of a spec; the error names each wrong key.

    Args:
        source: files that the content is from, where `path` is not the only one.
    """
    try:
        parsed = ModelSpec.model_validate(content)
    except ValidationError as error:
        raise invalid(f"{source or path} is not a model spec", error, guide="add-a-model") from error
    if parsed.name != path.stem:
        raise SpecError(f"{path}: name is {parsed.name!r}", hint=f"file and name must agree: {path.stem}")
    return parsed


def suite(path: Path) -> Suite:
    """Read a suite of data checks.

    Raises:
        SpecError: the file is missing or not YAML, or a key is unknown, missing or wrong.
    """
    if not path.is_file():
        raise SpecError(f"there is no suite {path}", hint="`data.expectations` of the spec names the files")
    return parse_suite(read_yaml(path), path)


def parse_suite(content: dict[str, Any], path: Path) -> Suite:
    """Validate the content of a suite; the error names each wrong key."""
    try:
        return Suite.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        raise invalid(f"{path} is not a suite", error, guide="data") from error


def feature_views(project: Path) -> dict[str, ViewSpec]:
    """Read the feature views of a project; a wrong one is left out and is an error of the log."""
    sound = {}
    for path in sorted((project / "configs" / "features").glob("*.yaml")):
        try:
            sound[path.stem] = feature_view(path)
        except SpecError as error:
            LOG.error("%s", error.message)
    return sound


def feature_view(path: Path) -> ViewSpec:
    """Read a feature view.

    Raises:
        SpecError: the file is missing or not YAML, or a key is unknown, missing or wrong.
    """
    if not path.is_file():
        raise SpecError(f"there is no feature view {path}", hint="features.columns of the spec names it")
    try:
        return ViewSpec.model_validate({"name": path.stem} | read_yaml(path))
    except ValidationError as error:
        raise invalid(f"{path} is not a feature view", error, guide="features") from error


def on_demand_files(project: Path) -> list[Path]:
    """Return the files that make on-demand views, each named as its view."""
    return sorted(path for path in (project / "feature_repo").glob("*.py") if path.name != "definitions.py")


def used_views(spec: ModelSpec, project: Path) -> list[Path]:
    """Return the files of the views from which a model gets its features.

    An on-demand view uses the stored views whose names it holds.

    Raises:
        SpecError: the spec names a view that has no file.
    """
    on_demand = {path.stem: path for path in on_demand_files(project)}
    stored = {path.stem: path for path in sorted((project / "configs" / "features").glob("*.yaml"))}
    used: dict[str, Path] = {}
    for name in dict.fromkeys(column.split(":", 1)[0] for column in spec.features.columns):
        if name in on_demand:
            text = on_demand[name].read_text(encoding="utf-8")
            used |= {name: on_demand[name]} | {view: path for view, path in stored.items() if view in text}
        elif name in stored:
            used[name] = stored[name]
        else:
            raise SpecError(
                f"{spec.name}: there is no feature view {name!r}",
                hint=f"views: {', '.join([*stored, *on_demand])}",
            )
    return [used[name] for name in sorted(used)]


def invalid(problem: str, error: ValidationError, guide: str) -> SpecError:
    """Return the error of a file with wrong keys, a line per key.

    Args:
        guide: page of docs/guide that says how it is written.
    """
    lines = [f"  {'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
    return SpecError("\n".join([f"{problem}:", *lines]), hint=f"see docs/guide/{guide}.md")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raises SpecError when the file is something else."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 a safe one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not YAML: {error}", hint="check indentation and quotes") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path} is not a mapping", hint="start from a spec in configs/models")
    return content


def lay_over(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of the overlay, also of optional keys that `base` leaves out."""
    merged = dict(base)
    for key, value in overlay.items():
        inner = base.get(key)
        merged[key] = lay_over(inner, value) if isinstance(value, dict) and isinstance(inner, dict) else value
    return merged
