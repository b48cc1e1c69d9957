"""Encodings of CSV files: which one a file has, and a copy in UTF-8 of a file that DuckDB cannot read."""

from __future__ import annotations

import codecs
import gzip
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from perennial.core.data_spec import CsvForm
from perennial.errors import MalformedInput

Encoding = Literal["utf-8", "utf-16", "latin-1", "windows-1252"]
CONTROLS = re.compile(rb"[\x80-\x9f]")
"""Bytes that are letters and signs in Windows-1252, and nothing in Latin-1."""
SIGNS = re.compile(rb"[\x80\x84\x85\x8b\x91-\x97\x99\x9b]")
"""Those of them that are signs in Windows-1252: the euro, quotation marks, dashes, dots, trademark."""
BLOCK = 1 << 20
ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
"""First bytes of workbooks, as .xlsx and .ods, and as .xls."""
WORKBOOK = (
    "save the sheet as CSV UTF-8 (File, Save As), or: pandas.read_excel(FILE).to_parquet('table.parquet')"
)


def encoding_of(path: Path) -> Encoding:
    """Return the encoding of a CSV file.

    Windows-1252 is concluded from its signs only: bytes that are letters there are other letters in the encodings of
    DOS, of the Mac and of Central Europe.

    Raises:
        MalformedInput: the file is empty, ends within a character, is a workbook, or has another encoding.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, is_ascii, has_text, before, has_signs = True, True, False, 0, False
    with _binary(path) as file:
        while True:
            block = file.read(BLOCK)
            if not before and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            if not before and block.startswith((ZIP, OLE)):
                raise MalformedInput(f"{path} is a workbook, not a CSV file", hint=WORKBOOK)
            has_text = has_text or bool(block.strip())
            try:
                # Without `final`, a last byte that begins a character of UTF-8 would be let through.
                is_ascii = decoder.decode(block, final=not block).isascii() and is_ascii
            except UnicodeDecodeError as error:
                if not is_ascii and is_utf8 and not block:
                    raise MalformedInput(
                        f"{path} ends within a character of UTF-8", hint="the file was cut: copy it again"
                    ) from error
                is_utf8 = False
            if not block:
                break
            before += len(block)
    if not has_text:
        raise MalformedInput(
            f"{path} is empty", hint="the first line names the columns, each further line is a row"
        )
    if is_utf8:
        return "utf-8"
    before = 0
    with _binary(path) as file:
        while block := file.read(BLOCK):
            for control in CONTROLS.finditer(block):
                if not SIGNS.match(control.group()):
                    place = before + control.start()
                    raise MalformedInput(
                        f"{path}: byte {place} is {control.group()!r}: neither UTF-8 nor Latin-1, and several "
                        "encodings have a letter there",
                        hint="convert it from its own encoding: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW (or "
                        "WINDOWS-1250, CP850, MACINTOSH, SHIFT_JIS), and look at the letters",
                    )
                has_signs = True
            before += len(block)
    return "windows-1252" if has_signs else "latin-1"


@contextmanager
def in_utf8(path: Path | str, form: CsvForm) -> Iterator[tuple[Path | str, CsvForm]]:
    """Yield a file that DuckDB can read, and its form: a copy in UTF-8 of a file in Windows-1252.

    DuckDB reads that encoding only with an extension from the internet.

    Raises:
        MalformedInput: the file is in S3, or has a byte that is nothing in Windows-1252; errors name the file itself.
    """
    if form.encoding != "windows-1252" or not Path(path).is_file():
        if str(path).startswith("s3://") and form.encoding == "windows-1252":
            raise MalformedInput(f"{path}: a file in S3 is not read as windows-1252", hint="save it as UTF-8")
        yield path, form
        return
    with tempfile.TemporaryDirectory(prefix="perennial-") as folder:
        copy = Path(folder) / Path(path).name.removesuffix(".gz")
        try:
            with _binary(Path(path)) as file, copy.open("w", encoding="utf-8", newline="") as text:
                while block := file.read(BLOCK):
                    text.write(block.decode("windows-1252"))
            yield copy, form.model_copy(update={"encoding": "utf-8"})
        except UnicodeDecodeError as error:
            raise MalformedInput(
                f"{path}: {error.object[error.start : error.start + 1]!r} is nothing in Windows-1252",
                hint="save it as UTF-8",
            ) from error
        except MalformedInput as error:
            raise MalformedInput(error.message.replace(str(copy), str(path)), hint=error.hint) from error


def _binary(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]
