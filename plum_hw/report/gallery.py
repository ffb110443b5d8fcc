"""Small grey pictures in a terminal: two pixel rows a line, by half blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Group
from rich.style import Style
from rich.table import Table
from rich.text import Text

#: Columns between two pictures.
_GAP = 2
#: Fewer pictures than this are no gallery.
_FEW = 4


def picture(image: NDArray[np.uint8]) -> Text:
    """An image [H, W] of 8-bit grey as text of W columns and H/2 lines."""
    rows = image if image.shape[0] % 2 == 0 else np.vstack([image, np.zeros_like(image[:1])])
    text = Text()
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            style = Style(color=_grey(int(above)), bgcolor=_grey(int(below)))
            text.append("\N{UPPER HALF BLOCK}", style)
        text.append("\n")
    text.right_crop()
    return text


def gallery(images: NDArray[np.uint8], captions: list[str], width: int) -> Table:
    """As many of the images [N, H, W] side by side as `width` columns hold, captions below.

    Where few fit they are shown at half their size.
    """
    if width // (images.shape[2] + _GAP) < _FEW:
        images = _halved(images)
    fits = max(1, width // (images.shape[2] + _GAP))
    table = Table.grid(padding=(0, _GAP))
    table.add_row(
        *(
            Group(picture(image), Text(caption, justify="center"))
            for image, caption in list(zip(images, captions, strict=True))[:fits]
        )
    )
    return table


def _halved(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2x2 pixels; an odd last row or column is left out."""
    height, width = (size // 2 for size in images.shape[1:])
    blocks = images[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2)
    halved: NDArray[np.uint8] = blocks.mean(axis=(2, 4)).astype(np.uint8)
    return halved


def _grey(value: int) -> Color:
    return Color.from_rgb(value, value, value)
