"""`python -m plum_host.protocol_tables FILE`: writes the tables of docs/protocol.md anew.

They stand between lines `<!-- table NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path

from plum_host import protocol

_TEXTS = {
    "ops": {
        "PING": "nothing is done; answered by a notice, also during a run",
        "RESET": "begins a session: what runs is stopped, what waits is forgotten",
        "READ": "answered with `count` words",
        "CHECK": "answered with the checksum of what READ would be answered with",
        "WRITE": "`count` words follow the header",
        "RUN": "runs a program; when it has ended, answered as a READ of its header",
    },
    "statuses": {
        "OK": "done",
        "BAD_OP": "no such opcode",
        "BAD_LENGTH": "a header that is cut, or data that are not `count` words",
        "BAD_ADDRESS": "no such space, cluster or words; a write to a space that is read only; a "
        "RUN of no layers or of more than code memory can hold",
    },
    "reasons": {
        "PONG": "the answer to PING",
        "RESET": "the answer to RESET",
        "GAP": "`got` is not the number that is due: something before it was lost, or it is a "
        "repetition",
        "DAMAGED": "a packet does not decode, its CRC is wrong, or it is no request at all",
        "FULL": "the queue had no room for `got`",
        "CLOSED": "there is no session: the device was restarted",
    },
}


def tables() -> dict[str, str]:
    """Each table by name, in Markdown."""
    spaces = [
        (
            f"`{space.name}`",
            str(int(space)),
            str(protocol.SPACE_BYTES[space]),
            _access(space),
        )
        for space in protocol.Space
    ]
    layouts = {
        "reset": (*protocol.HEADER, ("session", 2)),
        "request": (*protocol.HEADER, *protocol.ACCESS),
        "run": protocol.RUN,
        "response": protocol.RESPONSE,
        "notice": protocol.NOTICE,
        "identity": protocol.IDENTITY,
    }
    return {
        "ops": _enum("opcode", protocol.Op, _TEXTS["ops"]),
        "statuses": _enum("status", protocol.Status, _TEXTS["statuses"]),
        "reasons": _enum("reason", protocol.Reason, _TEXTS["reasons"]),
        "spaces": _table(("space", "number", "bytes of a word", ""), spaces),
        **{name: _layout(fields) for name, fields in layouts.items()},
    }


def _access(space: protocol.Space) -> str:
    if space in protocol.WRITE_ONLY_SPACES:
        return "write only"
    return "read only" if space in protocol.READ_ONLY_SPACES else ""


def renew(text: str) -> str:
    """A page with its tables made anew; a ValueError where one of them has no place."""
    for name, table in tables().items():
        pattern = rf"(?<=<!-- table {name} -->\n).*?(?=<!-- end -->)"
        places = re.findall(pattern, text, flags=re.DOTALL)
        if len(places) != 1:
            raise ValueError(
                f"the page has {len(places)} places for table {name}; it must have one"
            )
        begin = f"<!-- table {name} -->\n"
        text = text.replace(begin + places[0], begin + table)
    return text


def _enum(title: str, values: Iterable[IntEnum], texts: dict[str, str]) -> str:
    rows = [(f"`{value.name}`", f"0x{value:02x}", texts[value.name]) for value in values]
    return _table((title, "number", "meaning"), rows)


def _layout(fields: Sequence[tuple[str, int]]) -> str:
    rows, at = [], 0
    for name, size in fields:
        rows.append((str(at), str(size), f"`{name}`"))
        at += size
    return _table(("byte", "bytes", "field"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Write the tables of the page that is named."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m plum_host.protocol_tables docs/protocol.md")
    page = Path(sys.argv[1])
    page.write_text(renew(page.read_text()))


if __name__ == "__main__":
    main()
