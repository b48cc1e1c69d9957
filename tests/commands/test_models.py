"""`perennial models`: what a person reads where there is nothing to list."""

from __future__ import annotations

from perennial.adapters.project_folder import make_project
from perennial.cli import main


def test_a_project_without_a_model_says_how_to_make_one(tmp_path, monkeypatch, capsys):
    make_project(tmp_path / "mine")
    monkeypatch.setenv("PERENNIAL_PROJECT", str(tmp_path / "mine"))
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    assert main(["models", "list"]) == 0
    said = capsys.readouterr().out
    assert "no model has a spec in" in said
    assert "perennial init NAME --from TABLE" in said
    assert main(["models", "list", "--json"]) == 0
    assert capsys.readouterr().out.strip() == "[]"
