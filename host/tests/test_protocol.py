"""The page about the protocol has the numbers that the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from plum_host.protocol import IDENTITY, IDENTITY_BYTES, SPACE_BYTES, Space, field_at
from plum_host.protocol_tables import renew, tables

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_tables_of_the_page_are_up_to_date() -> None:
    text = PAGE.read_text()
    assert renew(text) == text
    assert renew(text.replace("`GAP`", "`HOLE`")) == text


def test_a_page_without_a_place_for_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 places for table ops"):
        renew(PAGE.read_text().replace("<!-- table ops -->", ""))
    assert len(tables()) == 10


def test_fields_are_found_and_identity_is_whole_words() -> None:
    assert field_at(IDENTITY, "digest") == (16, 16)
    assert IDENTITY_BYTES % SPACE_BYTES[Space.IDENTITY] == 0
    with pytest.raises(KeyError):
        field_at(IDENTITY, "nothing")
