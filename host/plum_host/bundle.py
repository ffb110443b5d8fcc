"""stub"""

from __future__ import annotations
from dataclasses import dataclass
from typing import Any
import numpy as np


@dataclass(frozen=True)
class Bundle:
    manifest: dict[str, Any]
    program: tuple
    table: tuple
    weight: tuple
    input_map: np.ndarray
    output_map: np.ndarray | None

    @classmethod
    def build(cls, manifest, *, program, table, weight, input_map, output_map):
        return cls(manifest, tuple(program), tuple(table), tuple(weight), input_map, output_map)

    def pack_image(self, image):
        flat = np.concatenate([np.asarray(image, np.uint8).ravel(), np.zeros(1, np.uint8)])
        return flat[self.input_map].reshape(-1, 8)
