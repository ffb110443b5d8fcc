"""What a device says about itself."""

from __future__ import annotations

from dataclasses import dataclass

from plum_host.errors import ProtocolError
from plum_host.protocol import IDENTITY, IDENTITY_BYTES, MAGIC, MAX_PACKET_BYTES, PROTOCOL_VERSION


@dataclass(frozen=True)
class Identity:
    """Content of the IDENTITY space.

    digest : of its array configuration, as `ArrayConfig.digest`
    name : of the configuration
    packet_bytes, queue_bytes : largest body, and places in the queue of requests
    result_words : of the result memory
    clock_hz : of the array, None where the device does not know
    build : program and version that made it
    """

    version: int
    clusters: int
    digest: str
    name: str
    packet_bytes: int
    queue_bytes: int
    result_words: int
    clock_hz: int | None
    build: str

    @classmethod
    def from_bytes(cls, content: bytes, device: str) -> Identity:
        """Parse and check it; a ProtocolError says what is wrong with `device`."""
        if len(content) != IDENTITY_BYTES or not content.startswith(MAGIC):
            raise ProtocolError(f"{device}: not a plum device: it says {content[:16]!r}")
        values: dict[str, bytes] = {}
        at = 0
        for field, size in IDENTITY:
            values[field] = content[at : at + size]
            at += size
        number = {field: int.from_bytes(value, "little") for field, value in values.items()}
        text = {
            field: values[field].rstrip(b"\0").decode("ascii", "replace")
            for field in ("name", "build")
        }
        if number["version"] != PROTOCOL_VERSION:
            raise ProtocolError(
                f"{device}: the device speaks protocol version {number['version']}; this program "
                f"speaks {PROTOCOL_VERSION}"
            )
        if not 64 <= number["packet_bytes"] <= MAX_PACKET_BYTES:
            raise ProtocolError(
                f"{device}: the device takes packets of {number['packet_bytes']} bytes; it must be "
                f"64 to {MAX_PACKET_BYTES}"
            )
        if number["queue_bytes"] < number["packet_bytes"] + 2:
            raise ProtocolError(
                f"{device}: the device's queue has {number['queue_bytes']} places; a packet of "
                f"{number['packet_bytes']} bytes does not fit"
            )
        return cls(
            version=number["version"],
            clusters=number["clusters"],
            digest=values["digest"].hex(),
            name=text["name"],
            packet_bytes=number["packet_bytes"],
            queue_bytes=number["queue_bytes"],
            result_words=number["result_words"],
            clock_hz=1000 * number["clock_khz"] or None,
            build=text["build"],
        )
