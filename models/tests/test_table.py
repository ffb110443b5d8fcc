"""The tables of models/README.md are those of the shipped networks."""

from __future__ import annotations

import re

import pytest

from plum_models.shipped import entries
from plum_models.table import README, tables, with_tables


def test_readme_has_the_tables_of_what_is_shipped() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_tables(text, tables()) == text
    for entry in entries().values():
        assert f"| `{entry['file']}` |" in text
        assert f"{entry['float_top1']:.2f} %" in text


def test_mark_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=re.escape("<!-- layers: python -m plum_models.table -->")):
        with_tables("# no marks\n", {"layers": "| a |"})


def test_table_replaces_what_stood_between_its_marks() -> None:
    marks = "<!-- a: python -m plum_models.table -->\n{}\n<!-- end of a -->"
    text = f"before\n{marks.format('old')}\nafter\n"
    assert with_tables(text, {"a": "new"}) == f"before\n{marks.format('new')}\nafter\n"
