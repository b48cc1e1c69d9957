"""`perennial ab` on a file: table, JSON, picture, page; and what is refused."""

from __future__ import annotations

import json

import pytest

from perennial.cli import main


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
    assert capsys.readouterr().out.startswith("3835 per arm")


@pytest.mark.parametrize(
    ("more", "code"),
    [(["--control", "C"], 2), (["--shares", "A=1"], 2), (["--shares", "A=1,B=0"], 2)],
)
def test_refused(file, more, code):
    assert main(["ab", "analyse", str(file), *more]) == code


def test_malformed(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("arm,outcome\nA,yes\n")
    assert main(["ab", "analyse", str(path)]) == 23
