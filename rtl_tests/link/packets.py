"""What the link's benches send: packets and their bodies."""

from __future__ import annotations

import random

DATA, END, BAD, HIDDEN = 0, 1, 2, 3


def packet(body: bytes, mark: int = END) -> list[int]:
    """A packet as the symbols of a stream."""
    return [*body, mark << 8]


def random_body(rng: random.Random, longest: int) -> bytes:
    """Bodies that are hard on COBS: few or many zeros, lengths about its blocks' size."""
    length = rng.choice([0, 1, 2, 3, 253, 254, 255, 256, 508, 509, rng.randrange(longest + 1)])
    zeros = rng.choice([0, 0.02, 0.5, 1])
    return bytes(
        0 if rng.random() < zeros else rng.randrange(1, 256) for _ in range(min(length, longest))
    )
