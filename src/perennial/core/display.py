"""Text that somebody else wrote, made safe to show: notes, names, reasons and tags reach terminals, pages and mails.

A control character can clear a terminal or forge a line of a table, a bidirectional mark can turn a sentence round,
and a Cyrillic letter can make one account look like another. All of them are shown by their number instead
(Unicode Technical Report 36, "Unicode Security Considerations"). Nothing is removed: who reads sees that it is there.
"""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"\w+")
KEPT = frozenset("\n")
"""The one control character that a longer text may hold."""
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me"})
"""Unicode categories that show nothing, or change how the rest is shown."""
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols that show nothing."""
OVERLAYS = range(0x334, 0x339)
"""Combining marks that strike a letter through."""
PHONETIC = range(0x250, 0x2B0)
"""Letters of the phonetic alphabet, some of which look like Latin ones."""
SELECTORS = range(0xFE00, 0xFE10)
"""Variation selectors, which show nothing by themselves."""


def shown(text: str, lines: bool = False) -> str:
    """Return the text with everything escaped that could mislead whoever reads it.

    Args:
        lines: keep line ends; else the text stays on one line.
    """
    visible = "".join(_visible(letter, lines) for letter in text)
    return WORD.sub(lambda word: _plain_word(word.group()), visible)


def _visible(letter: str, lines: bool) -> str:
    if lines and letter in KEPT:
        return letter
    hidden = (
        unicodedata.category(letter) in HIDDEN
        or letter in BLANK
        or ord(letter) in OVERLAYS
        or ord(letter) in SELECTORS
        or (letter.isspace() and letter != " ")
        or _disguised(letter)
    )
    return escaped(letter) if hidden else letter


def _disguised(letter: str) -> bool:
    """Return whether a character looks like an ASCII one: mathematical, full-width, circled, phonetic, a numeral."""
    if letter.isascii() or unicodedata.decomposition(letter).startswith(("<super>", "<sub>")):
        return False
    plain = unicodedata.normalize("NFKC", letter)
    return (len(plain) == 1 and plain.isascii() and plain.isalnum()) or ord(letter) in PHONETIC


def _plain_word(word: str) -> str:
    """A word of one script stays; in a word that mixes Latin letters with others, the others are escaped."""
    scripts = {script for letter in word if (script := _script(letter))}
    if "LATIN" not in scripts or len(scripts) == 1:
        return word
    return "".join(letter if _script(letter) in ("", "LATIN") else escaped(letter) for letter in word)


def _script(letter: str) -> str:
    """Return the first word of the letter's Unicode name: LATIN, CYRILLIC, GREEK; empty for no letter."""
    if not letter.isalpha() or letter.isascii():
        return "LATIN" if letter.isalpha() else ""
    return unicodedata.name(letter, "UNKNOWN").split()[0]


def escaped(letter: str) -> str:
    """Return a character as its number: \\x1b, \\u202e, \\U0001f600."""
    number = ord(letter)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
