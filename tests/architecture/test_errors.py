"""Every error class documents itself: exit code, HTTP status, meaning; the guide shows the same table."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

from perennial.cli import main
from perennial.errors import DataError, FileRefused, MalformedInput, NotLoaded
from perennial.every_error import all_errors, error_table

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "errors.md"


def test_the_guide_shows_the_table():
    assert error_table() in GUIDE.read_text(), "python -m perennial.every_error prints the table"


def test_each_exit_code_belongs_to_one_error():
    codes = Counter(error.exit_code for error in all_errors())
    assert max(codes.values()) == 1
    assert all(1 <= code <= 125 for code in codes)


def test_each_error_has_its_own_docstring():
    assert all("__doc__" in vars(error) and error.__doc__ for error in all_errors())


def test_a_status_is_not_inherited():
    assert (NotLoaded.http_status, MalformedInput.http_status, DataError.http_status) == (503, 400, 500)


def test_an_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(NotLoaded("m", hint="h")))  # noqa: S301
    assert (type(error), error.message, error.hint) == (NotLoaded, "m", "h")


def test_a_folder_that_the_system_refuses_is_no_traceback(capsys, monkeypatch):
    monkeypatch.setenv("PERENNIAL_HOME", "/sys/state")
    assert main(["local", "setup"]) == FileRefused.exit_code
    first, hint = capsys.readouterr().err.splitlines()
    assert first.startswith("FileRefused: /sys/state")
    assert hint.startswith("  -> ")


def test_a_path_with_a_file_in_its_middle_is_refused_without_a_traceback(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "file" / "state"))
    assert main(["local", "setup"]) == FileRefused.exit_code
    first, hint = capsys.readouterr().err.splitlines()
    assert first.startswith(f"FileRefused: {tmp_path / 'file'}")
    assert "name another folder" in hint
