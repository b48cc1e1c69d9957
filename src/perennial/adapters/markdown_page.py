"""Markdown -> one HTML page (markdown-it-py). Raw HTML in the text stays text."""

from __future__ import annotations

import html

from markdown_it import MarkdownIt

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid #bbb; padding: 0.25rem 0.6rem; text-align: left; vertical-align: top; }}
td {{ overflow-wrap: anywhere; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def page(title: str, markdown: str) -> str:
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    return PAGE.format(title=html.escape(title), body=body)
