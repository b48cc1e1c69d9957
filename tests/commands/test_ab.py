"""`perennial ab` on a file: table, JSON, picture, page; and what is refused."""

from __future__ import annotations

import json

import pytest

from perennial.cli import main
from perennial.errors import DataError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "test.csv"
    rows = [f"{arm},{int(i % every == 0)}" for arm, every in (("A", 10), ("B", 5)) for i in range(2000)]
    path.write_text("arm,outcome\n" + "\n".join(rows) + "\n")
    return path


def test_table_picture_and_page(file, tmp_path, capsys):
    picture, page = tmp_path / "out" / "ab.png", tmp_path / "out" / "ab.html"
    assert main(["ab", "analyse", str(file), "--picture", str(picture), "--html", str(page)]) == 0
    assert "PROMOTE" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in page.read_text()


def test_json_names_the_control_first(file, capsys):
    assert main(["ab", "analyse", str(file), "--control", "B", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in found["arms"]] == ["B", "A"]
    assert found["comparisons"][0]["decision"] == "KEEP"


def test_size(capsys):
    assert main(["ab", "size", "--base", "0.1", "--other", "0.12"]) == 0
    out = capsys.readouterr().out
    assert "16884" in out, "of the decision, at any look"
    assert "3835" in out, "of a single look, as statsmodels"


def test_size_of_a_small_share_is_larger(capsys):
    assert main(["ab", "size", "--base", "0.1", "--other", "0.12", "--share", "0.05", "--json"]) == 0
    needed = json.loads(capsys.readouterr().out)
    assert needed["together"] > 16884
    assert needed["treatment"] == pytest.approx(needed["together"] / 20, abs=1)


def test_alpha_is_taken_as_it_is_said(file, capsys):
    def width(*more: str) -> float:
        assert main(["ab", "analyse", str(file), "--json", *more]) == 0
        found = json.loads(capsys.readouterr().out)["comparisons"][0]["sequential_interval"]
        return found["high"] - found["low"]

    assert width("--alpha", "1e-9") > width("--alpha", "0.05") == width()


@pytest.mark.parametrize(
    "more",
    [
        ["--alpha", "0"],
        ["--alpha", "1"],
        ["--power", "1"],
        ["--power", "0"],
        ["--power", "nan"],
        ["--power", "0.01"],
        ["--base", "nan"],
        ["--other", "0.1"],
        ["--other", "2"],
        ["--kind", "continuous"],
        ["--kind", "continuous", "--deviation", "-1"],
        ["--kind", "continuous", "--deviation", "inf"],
        ["--kind", "continuous", "--deviation", "1e300"],
    ],
)
def test_size_refuses(more, capsys):
    assert main(["ab", "size", "--base", "0.1", "--other", "0.12", *more]) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--control", "C"], 2),
        (["--shares", "A=1"], 2),
        (["--shares", "A=1,B=0"], 2),
        (["--shares", "A=1,B=nan"], 2),
        (["--alpha", "0"], 2),
        (["--alpha", "1"], 2),
        (["--alpha", "nan"], 2),
        (["--worth", "nan"], 2),
    ],
)
def test_refused(file, more, code):
    assert main(["ab", "analyse", str(file), *more]) == code


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("A,yes,1", "yes"),
        ("A,nan,1", "outcome is nan"),
        ("A,inf,1", "outcome is inf"),
        ("A,1e200,1", "outcome is 1e200"),
        ("A,1,-3", "exposure is -3"),
        ("A,1,0", "exposure is 0"),
        ("A,1,nan", "exposure is nan"),
        ("A", "outcome"),
    ],
)
def test_malformed(tmp_path, capsys, line, told):
    path = tmp_path / "x.csv"
    path.write_text(f"arm,outcome,exposure\nB,1,1\n{line}\nB,1,1\n")
    assert main(["ab", "analyse", str(path), "--kind", "count"]) == 23
    said = capsys.readouterr().err
    assert "line 3" in said
    assert told in said


def test_a_row_without_its_arm(tmp_path, capsys):
    path = tmp_path / "x.csv"
    path.write_text("outcome,arm\n1,B\n1\n1,B\n")
    assert main(["ab", "analyse", str(path)]) == 23
    assert "line 3: there is no arm" in capsys.readouterr().err


def test_negative_counts_are_refused(tmp_path, capsys):
    path = tmp_path / "x.csv"
    path.write_text("arm,outcome\n" + "A,-1\nB,1\n" * 100)
    assert main(["ab", "analyse", str(path), "--kind", "count"]) == DataError.exit_code
    assert "-100 events" in capsys.readouterr().err
