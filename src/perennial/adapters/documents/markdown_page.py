"""Render Markdown as an HTML page (markdown-it-py). Raw HTML is escaped; pictures are embedded."""

from __future__ import annotations

import base64
import html
import mimetypes
from collections.abc import Mapping
from pathlib import Path

from markdown_it import MarkdownIt

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h2 {{ margin-top: 2.5rem; border-bottom: 1px solid #ddd; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-size: 0.9rem; }}
th, td {{ border: 1px solid #ccc; padding: 0.25rem 0.6rem; text-align: left; vertical-align: top; }}
th {{ background: #f4f4f4; }}
td {{ overflow-wrap: anywhere; min-width: 3rem; font-variant-numeric: tabular-nums; }}
img {{ width: {picture_width}; max-width: 100%; height: auto; margin: 0 0.5rem 1rem 0; vertical-align: top; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def page(
    title: str, markdown: str, pictures: Mapping[str, Path] | None = None, picture_width: str = "26rem"
) -> str:
    """Return the page as a single file.

    Args:
        pictures: address in the Markdown -> file that is embedded; other addresses stay.
        picture_width: as CSS writes it.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for token in (child for block in tokens for child in block.children or ()):
        file = (pictures or {}).get(str(token.attrs.get("src", "")))
        if token.type == "image" and file is not None:
            token.attrs["src"] = _data_uri(file)
    body = parser.renderer.render(tokens, parser.options, {})
    return PAGE.format(title=html.escape(title), body=body, picture_width=picture_width)


def _data_uri(file: Path) -> str:
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
