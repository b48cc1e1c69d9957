"""A document of sections with text, tables and pictures, written as Markdown."""

from __future__ import annotations

import re

from perennial.core.display import shown
from perennial.core.frozen import Frozen

UNSTATED = "Not stated on record."
MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


class Table(Frozen):
    """A table with a header row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        return "\n".join(
            "| " + " | ".join(cell if number == 1 else escape(cell) for cell in row) + " |"
            for number, row in enumerate(lines)
        )


class Picture(Frozen):
    """A picture that lies beside the document."""

    file: str
    shows: str

    def markdown(self) -> str:
        return f"![{escape(self.shows)}]({self.file})"


class Section(Frozen):
    """A titled part of a document."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.text or self.pictures or any(table.rows for table in self.tables))


class Document(Frozen):
    """A titled list of sections."""

    title: str
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(picture for section in self.sections for picture in section.pictures)

    def markdown(self) -> str:
        """Return the document as Markdown. All text is escaped, so that it stays text."""
        parts = [f"# {escape(self.title)}"]
        for section in self.sections:
            parts.append(f"## {escape(section.title)}")
            parts += [escape(words) for words in section.text]
            parts += [table.markdown() for table in section.tables if table.rows]
            if section.pictures:
                parts.append("\n".join(picture.markdown() for picture in section.pictures))
            if section.empty:
                parts.append(UNSTATED)
        return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return the text escaped for Markdown and for the eye, as a single line."""
    return MARKUP.sub(r"\\\1", shown(" ".join(text.split())))
