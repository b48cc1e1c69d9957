"""Stream an XML report: suites as events, each test as a small tree, never the whole document.

Text is not kept (captured output is most of a report), except that of the tags in `TEXT`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from perennial.errors import MalformedInput
from perennial.history.reports.report import wrong

DEPTH = 100
"""Most suites inside each other."""
REPORT_BYTES = 1024 * 1024 * 1024
CHILDREN = 100_000
"""Most elements of a test, such as its reruns."""
CHUNK = 256 * 1024
TEXT = frozenset({"value"})
"""Tags whose text is kept: the arguments of a TestNG test."""

DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
DECLARATION = re.compile(rb"\A<\?xml\s[^>]*\?>")
NOT_OF_TEXT = {
    "idna",
    "punycode",
    "undefined",
    "unicode_escape",
    "raw_unicode_escape",
    "utf_7",
    "mbcs",
    "oem",
}
"""Codecs of Python that are no encoding of a file."""
# XML has no control characters, but terminal colours get into names and messages; DEL to keep the length.
CONTROLS = bytes(c for c in range(32) if c not in b"\t\n\r")
WITHOUT_CONTROLS = bytes.maketrans(CONTROLS, b"\x7f" * len(CONTROLS))
CONTROL_REFERENCE = re.compile(
    rb"&#(?:0*(?:[0-8]|1[1-24-9]|2\d|3[01])|[xX]0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F]));"
)


class Node(NamedTuple):
    """An element without its text."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Node]
    text: list[str]

    def get(self, *names: str) -> str:
        """Return the first of these attributes that has a value, stripped."""
        for name in names:
            if value := self.attributes.get(name, "").strip():
                return value
        return ""

    def all(self, tag: str) -> list[Node]:
        """Return the children of a tag."""
        return [child for child in self.children if child.tag == tag]


class Event(NamedTuple):
    """`start` and `end` of a suite, or a whole `test`."""

    kind: Literal["start", "end", "test"]
    node: Node


def stream(path: Path, tests: Callable[[str], frozenset[str]]) -> Iterator[Event]:
    """Yield the events of a report in order.

    Args:
        path: the file.
        tests: from the tag of the root to the tags of its tests.

    Raises:
        MalformedInput: the file is no well-formed XML, has entities or a DTD, is over a limit of this module, or
            declares an encoding that is unknown or not that of its bytes.
    """
    target = _Target(path, tests)
    parser = DefusedXMLParser(target=target, encoding="utf-8", forbid_dtd=True)
    target.expat = parser.parser
    # Past the handlers of ElementTree: attributes as a dictionary, and no call for each piece of text.
    parser.parser.ordered_attributes = False
    parser.parser.StartElementHandler, parser.parser.EndElementHandler = target.start, target.end
    parser.parser.DefaultHandlerExpand = None
    try:
        for piece in _utf8(path):
            parser.feed(piece)
            yield from target.take()
        parser.close()
        yield from target.take()
    except ParseError as error:
        raise wrong(
            path, error.position[0], f"not well-formed XML: {error}",
            "a test run that was killed writes half a report: delete the file; or its bytes are in another encoding",
        ) from error  # fmt: skip
    except DefusedXmlException as error:
        raise MalformedInput(
            f"{path}: refused: {error}", hint="a report needs no DTD and no entities"
        ) from error


class _Target:
    """Receives the elements from the parser; has no `data`, so that the parser skips the text."""

    def __init__(self, path: Path, tests: Callable[[str], frozenset[str]]) -> None:
        self.expat: Any = None
        self._path = path
        self._tests_of = tests
        self._tests: frozenset[str] = frozenset()
        self._suites: list[Node] = []
        self._test: list[Node] = []
        self._elements = 0
        self._events: list[Event] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if "}" in tag:
            tag = tag.rpartition("}")[2]
        node = Node(tag, attributes, self.expat.CurrentLineNumber, [], [])
        if self._test:
            self._inside(node)
        elif tag in self._tests:
            self._test.append(node)
            self._elements = 0
        else:
            if not self._suites:
                self._tests = self._tests_of(tag)
            self._suites.append(node)
            if len(self._suites) > DEPTH:
                raise wrong(self._path, node.line, f"more than {DEPTH} suites inside each other")
            self._events.append(Event("start", node))

    def _inside(self, node: Node) -> None:
        self._elements += 1
        if self._elements > CHILDREN or len(self._test) > DEPTH:
            raise wrong(
                self._path, self._test[0].line, f"more than {CHILDREN} executions or elements in a test"
            )
        self._test[-1].children.append(node)
        self._test.append(node)
        if node.tag in TEXT:
            self.expat.CharacterDataHandler = node.text.append

    def end(self, tag: str) -> None:
        if self._test:
            node = self._test.pop()
            if node.tag in TEXT:
                self.expat.CharacterDataHandler = None
            if not self._test:
                self._events.append(Event("test", node))
        else:
            self._events.append(Event("end", self._suites.pop()))

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        return None


def _utf8(path: Path) -> Iterator[bytes]:
    """Yield the content in UTF-8 without what XML forbids but test tools write."""
    if path.stat().st_size > REPORT_BYTES:
        raise MalformedInput(
            f"{path}: larger than {REPORT_BYTES} bytes", hint="leave the captured output out of the report"
        )
    rest, first = b"", True
    for piece in _decoded(path):
        if first:
            # Some tools write an empty line before the XML declaration, or an encoding that is no name.
            piece, first = DECLARATION.sub(b"", piece.removeprefix(codecs.BOM_UTF8).lstrip(), count=1), False
        piece = rest + piece
        cut = piece.rfind(b"&", max(0, len(piece) - 12))
        piece, rest = (piece, b"") if cut < 0 or b";" in piece[cut:] else (piece[:cut], piece[cut:])
        yield _clean(piece)
    yield _clean(rest)


def _clean(piece: bytes) -> bytes:
    piece = piece.translate(WITHOUT_CONTROLS)
    return CONTROL_REFERENCE.sub(b"\x7f", piece) if b"&#" in piece else piece


def _decoded(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        head = file.read(CHUNK)
        name = _encoding(path, head)
        if name == "utf-8":
            yield head
            while piece := file.read(CHUNK):
                yield piece
            return
        decoder = codecs.getincrementaldecoder(name)()
        try:
            while head:
                yield decoder.decode(head).encode()
                head = file.read(CHUNK)
            yield decoder.decode(b"", final=True).encode()
        except (UnicodeError, ValueError) as error:
            raise MalformedInput(
                f"{path}: is not in the encoding {name}: {error}", hint="write the report in UTF-8"
            ) from error


def _encoding(path: Path, head: bytes) -> str:
    """Return the name of the codec, by the byte order mark, the declaration, else UTF-8."""
    for mark, name in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                       (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
                       (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be")):  # fmt: skip
        if head.startswith(mark):
            return name
    match = DECLARED.search(head[:500])
    declared = match.group(1).decode("ascii").lower() if match else "utf-8"
    if declared.startswith(("utf-16", "utf16", "ucs-2", "utf-32", "utf-8", "utf8-")):
        # .NET declares the encoding of its strings, and writes UTF-8.
        return "utf-8"
    try:
        codec = codecs.lookup(declared)
        if not codec._is_text_encoding or codec.name.replace("-", "_") in NOT_OF_TEXT:
            raise LookupError(f"no encoding of a file: {declared}")
    except LookupError as error:
        raise MalformedInput(
            f"{path}:1: declares the encoding {declared!r}, which is not known",
            hint="write the report in UTF-8",
        ) from error
    return codec.name
