"""The steps of a training on the command line: bad input has its own exit code and changes nothing."""

from __future__ import annotations

import pytest

from perennial.cli import main
from perennial.errors import DatasetMissing, MalformedInput, UnknownModel, UsageError

MODEL = "test_failure_predictor"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("step", ["prepare", "validate", "train", "evaluate", "register"])
def test_unknown_model(home, step):
    assert main([step, "no_such_model", "--workdir", str(home / "w")]) == UnknownModel.exit_code
    assert not (home / "w").exists()


def test_prepare_without_a_history_says_how_to_get_one(home, capsys):
    assert main(["prepare", MODEL, "--workdir", str(home / "w")]) == DatasetMissing.exit_code
    assert "perennial data bootstrap" in capsys.readouterr().err
    assert not (home / "w").exists()


def test_validate_before_prepare_names_the_step(home, capsys):
    assert main(["validate", MODEL, "--workdir", str(home / "w")]) == DatasetMissing.exit_code
    assert "perennial prepare" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--version", "1.0.0"], ["--from-cycle", "3"], ["--data", "x.csv", "--workdir", "w"]]
)
def test_options_of_the_two_ways_to_evaluate_do_not_mix(home, arguments):
    assert main(["evaluate", MODEL, *arguments]) == UsageError.exit_code


def test_evaluate_names_the_file_it_cannot_read(home, capsys):
    assert main(["evaluate", MODEL, "--data", str(home / "none.csv")]) == DatasetMissing.exit_code
    (home / "bad.csv").write_text("a,b\n1,2\n")
    assert main(["evaluate", MODEL, "--data", str(home / "bad.csv")]) == MalformedInput.exit_code
    assert "bad.csv" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--trials", "0"], ["--reason", "whim"], ["--seed", "x"]])
def test_train_refuses_options_that_mean_nothing(home, option):
    assert main(["train", MODEL, *option]) == UsageError.exit_code
