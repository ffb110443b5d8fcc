"""Tables, and pages of which a part is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of figures are those whose heading begins with a blank."""
    lines = ["| " + " | ".join(text.strip() for text in headings) + " |"]
    lines.append(
        "|" + "|".join("---:" if text.startswith(" ") else "---" for text in headings) + "|"
    )
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def between_marks(text: str, begin: str, end: str, inside: str) -> str:
    """The text of a page with `inside` in place of what stood between the two marks."""
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"the page has no lines {begin!r} and {end!r}")
    return f"{before}{begin}\n{inside}\n{end}{after}"
