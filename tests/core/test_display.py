"""What somebody else wrote cannot take over the terminal or the sentence of who reads it."""

from __future__ import annotations

import ast
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.cli import main
from perennial.commands.ledger import line
from perennial.commands.output import print_json, print_record, print_table, print_text
from perennial.core.display import HIDDEN, shown
from perennial.core.events import Entry
from perennial.core.governance.document import escape
from perennial.core.governance.identity import Role
from perennial.core.governance.ledger import GENESIS, chain
from perennial.core.governance.notices import Links, compose
from perennial.core.governance.registry_rules import creation_refusal, name_refusal, tag_refusal

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("looked at the slices", "looked at the slices"),
        ("größer als vorher, über 3 %", "größer als vorher, über 3 %"),
        ("проверено", "проверено"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("one\ntwo\rthree\ttab", "one\\x0atwo\\x0dthree\\x09tab"),
        ("approved \u202edetcejer", "approved \\u202edetcejer"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("аpprover", "\\u0430pprover"),  # the first letter is Cyrillic
        ("ａｎｎ", "\\uff41\\uff4e\\uff4e"),
        ("𝐚nn ⅽhampion ɑpproved", "\\U0001d41ann \\u217dhampion \\u0251pproved"),
        ("m² 10⁻³ café", "m² 10⁻³ café"),
        ("no\u2800thing\u3164 a\u0336 x\ufe0f", "no\\u2800thing\\u3164 a\\u0336 x\\ufe0f"),
        ("lone \ud800", "lone \\ud800"),
        ("naïve café №5 日本語", "naïve café №5 日本語"),
        ("\u2028next", "\\u2028next"),
    ],
)
def test_table(text, wanted):
    assert shown(text) == wanted


def test_line_ends_of_longer_texts_may_stay():
    assert shown("one\ntwo\x07", lines=True) == "one\ntwo\\x07"


@given(st.text())
def test_nothing_hidden_is_left_and_nothing_is_lost(text):
    result = shown(text)
    assert not any(unicodedata.category(letter) in HIDDEN for letter in result)
    assert len(result) >= len(text)
    assert result.isascii() or result.encode()


HOSTILE = "\x1b[2J[bold]fine\nrelease approved \u202eby \u0430nn"
MISLEADING = set("\x1b\u202e\u0430")


def test_tables_and_lines_of_the_command_line_escape_what_others_wrote(capsys):
    print_table((HOSTILE,), [(HOSTILE,)])
    print_text(HOSTILE)
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 3, "a line of the header, one of the table and one of text"
    assert output.count("\\x1b[2J[bold]fine\\x0arelease approved \\u202eby \\u0430nn") == 3


def test_a_document_escapes_what_others_wrote():
    assert not (MISLEADING | {"\n"}) & set(escape(HOSTILE))


def test_a_notice_and_a_line_of_the_ledger_escape_what_others_wrote(capsys):
    entry = Entry(at=NOW, actor="a\x1b[0m", kind="release.rejected", model="m", payload={"reason": HOSTILE})
    row = chain(entry, 1, GENESIS)
    notice = compose(row, None, Links(mlflow="http://mlflow", airflow="http://airflow"))
    assert not MISLEADING & set(notice.title + notice.body)
    print_text(line(row))
    assert not MISLEADING & set(capsys.readouterr().out)


@pytest.mark.parametrize("key", ["\u0430pproval", "note\x1b[2J", "a\u202eb", "\uff41pproval", "line\nend"])
def test_a_tag_has_a_name_that_cannot_mislead(key):
    for role in Role:
        assert "printable ASCII" in tag_refusal([role], key, "x", {})
        assert "printable ASCII" in creation_refusal([role], key)
    assert not name_refusal("team.note of-the_week")


def test_every_command_prints_through_the_module_that_escapes():
    """`click.echo` and `print` would show the words of others as they are."""
    found = []
    for path in sorted((ROOT / "src/perennial/commands").glob("*.py")):
        if path.name == "output.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            echo = isinstance(node, ast.Attribute) and node.attr in ("echo", "secho")
            own = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
            if echo or own:
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "show", HOSTILE),
        ("data", "retract", "ci", "--cycle", HOSTILE, "--reason", "x"),
        ("data", "import-junit", HOSTILE),
        ("models", "show", HOSTILE),
        ("release", "status", HOSTILE),
        ("why", HOSTILE),
        ("prepare", HOSTILE),
        (HOSTILE,),
        ("--" + HOSTILE,),
    ],
)
def test_an_error_shows_what_was_given_escaped(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    assert main(list(arguments)) != 0
    said = capsys.readouterr()
    assert not MISLEADING & set(said.out + said.err)
    assert not any(line.startswith("release approved") for line in said.err.splitlines())
    assert "\\x1b" in said.err


def test_a_report_with_escape_codes_in_its_path_and_names_is_refused_in_plain_letters(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    path = tmp_path / "\x1b[2Jr\u202e.xml"
    path.write_text('<testsuite timestamp="\u202e2099"><testcase name="t" time="1"/></testsuite>')
    assert main(["data", "import-junit", str(path)]) == 23
    assert not MISLEADING & set(capsys.readouterr().err)


def test_json_for_machines_has_no_raw_control_characters(capsys):
    print_json({"note": HOSTILE + "\x9b"})
    print_record(Entry(at=NOW, actor="a", kind="k", model="m", payload={"note": HOSTILE + "\x9b"}))
    assert capsys.readouterr().out.isascii()
