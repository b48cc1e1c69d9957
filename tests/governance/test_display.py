"""What somebody else wrote cannot take over the terminal or the sentence of who reads it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.governance.display import HIDDEN, shown


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
