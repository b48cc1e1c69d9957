"""The end of a demo says how commands see it."""

from __future__ import annotations

from pathlib import Path

from perennial.demo.report import commands_line
from perennial.settings import Settings


def test_the_printed_variables_are_those_of_the_demo(tmp_path):
    project = tmp_path / "a demo"
    given = {"spec_overlay": tmp_path / "overlay", "false_drift_warnings_per_month": 1e6}
    settings = Settings(project=project, home=Path(".perennial"), **given)
    line = commands_line(settings, "tumours")
    assert f"PERENNIAL_PROJECT='{project}'" in line
    assert f"PERENNIAL_SPEC_OVERLAY={tmp_path / 'overlay'}" in line
    assert "PERENNIAL_FALSE_DRIFT_WARNINGS_PER_MONTH=1e+06" in line
    assert "perennial retrain effect tumours" in line


def test_the_project_that_is_the_default_need_not_be_named():
    settings = Settings(home=Path(".perennial/demo"), spec_overlay=Path("configs/demo"))
    line = commands_line(settings, "test_failure_predictor")
    assert "PERENNIAL_PROJECT" not in line
    assert "WARNINGS" not in line
