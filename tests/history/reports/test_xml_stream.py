"""Encodings, limits and ill-formed XML of reports."""

from __future__ import annotations

import tracemalloc

import pytest
from report_reading import STAMP, read, told

from perennial.errors import MalformedInput
from perennial.history.reports import xml_stream


def text(name, declared=""):
    return (
        f'{declared}<testsuite name="S" {STAMP}><testcase name="{name}" time="0" classname="S"/></testsuite>'
    )


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("größe", "utf-8"), ("größe", "windows-1252"), ("größe", "iso-8859-15"), ("größe", "utf-16"),
     ("größe", "utf-16-le"), ("größe", "utf-32"), ("тест", "koi8-r"), ("テスト", "shift_jis"), ("測試", "big5"),
     ("测试", "gbk"), ("시험", "euc-kr"), ("größe", "utf-8-sig")],
)  # fmt: skip
def test_encodings(tmp_path, name, encoding):
    declared = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig").removesuffix("-le")}"?>\n'
    report = read(tmp_path, text(name, declared).encode(encoding))
    assert told(report) == [(f"S::{name}", False)]


def test_a_declared_utf_16_that_is_utf_8(tmp_path):
    declared = '<?xml version="1.0" encoding="utf-16"?>'
    assert told(read(tmp_path, text("größe", declared).encode())) == [("S::größe", False)]


def test_a_declared_encoding_that_is_no_name_beside_a_byte_order_mark(tmp_path):
    declared = '<?xml version="1.0" encoding="UTF-16 LE" standalone="yes" ?>'
    assert told(read(tmp_path, text("größe", declared).encode("utf-16"))) == [("S::größe", False)]


@pytest.mark.parametrize("declared", ["utf8mb4", "rot13", "zlib", "unicode_escape", "idna"])
def test_an_unknown_encoding_is_named(tmp_path, declared):
    with pytest.raises(MalformedInput, match=rf"r\.xml:1: declares the encoding '{declared}'") as caught:
        read(tmp_path, text("x", f'<?xml version="1.0" encoding="{declared}"?>'))
    assert "UTF-8" in caught.value.hint


def test_bytes_that_are_not_of_the_declared_encoding_are_named(tmp_path):
    with pytest.raises(MalformedInput, match="not well-formed"):
        read(tmp_path, text("größe").encode("latin-1"))
    with pytest.raises(MalformedInput, match="is not in the encoding shift_jis"):
        read(tmp_path, text("x", '<?xml version="1.0" encoding="shift_jis"?>').encode() + b"\x81")


def test_control_characters_and_an_empty_first_line_do_no_harm(tmp_path):
    declared = '\n<?xml version="1.0" encoding="UTF-8"?>'
    failure = '<failure message="\x1b[31m&#27;&#x1B;&#0;no">\x00</failure>'
    colours = f'<testcase classname="c" name="a" time="0">{failure}</testcase>'
    report = read(tmp_path, f'{declared}<testsuite {STAMP} name="s">{colours}</testsuite>')
    assert told(report) == [("c::a", True)]


def test_a_reference_across_two_pieces_of_the_file(tmp_path, monkeypatch):
    for size in range(80, 120):
        monkeypatch.setattr(xml_stream, "CHUNK", size)
        assert told(read(tmp_path, text("a&amp;b&#27;&#228;c"))) == [("S::a&b\x7fäc", False)]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>', "refused"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>', "refused"),
        ("<project/>", "the root is <project>"),
        (f"<testsuite {STAMP}><testcase", "not well-formed"),
        ("{}", "no CTRF"),
        ("", "not well-formed"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, content, named):
    with pytest.raises(MalformedInput, match=named):
        read(tmp_path, content)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(xml_stream, "REPORT_BYTES", 100)
    with pytest.raises(MalformedInput, match="larger than 100 bytes"):
        read(tmp_path, text("x" * 100))


def test_the_output_of_tests_is_not_kept(tmp_path):
    case = f'<testcase classname="c" name="a" time="0"><system-out>{"log " * 25_000}</system-out></testcase>'
    content = f"<testsuite {STAMP}>{case * 200}</testsuite>".encode()
    tracemalloc.start()
    try:
        report = read(tmp_path, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(report.executions) == 200
    assert peak < 8 * 1024 * 1024 < len(content)
