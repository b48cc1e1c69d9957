"""The table of docs/guide/errors.md, which `python -m perennial.error_table` prints."""

from __future__ import annotations

from perennial.errors import all_errors


def error_table() -> str:
    """Return the Markdown table of all errors, ordered by exit code."""
    rows = (
        f"| {error.exit_code} | {error.http_status} | `{error.__name__}` | {error.__doc__} |\n"
        for error in sorted(all_errors(), key=lambda error: error.exit_code)
    )
    return "| exit code | HTTP status | error | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows)


if __name__ == "__main__":
    print(error_table(), end="")
