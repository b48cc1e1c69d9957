"""`--force` needs a reason, and a reason needs `--force`."""

from __future__ import annotations

import pytest

from perennial.cli import main


@pytest.mark.parametrize("arguments", [["--force"], ["--force", "--reason", " "], ["--reason", "because"]])
def test_force_and_reason_go_together(arguments, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    assert main(["release", "rollback", "test_failure_predictor", *arguments]) == 2
    assert "--force and --reason go together" in capsys.readouterr().err
