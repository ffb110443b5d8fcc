"""A convolution of the compiler's own, for pieces of layers whose window no memory holds.

Its input is what the host looks up, so a kernel's rows may come as further channels, and weights
and window may be wider than a network file allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plum_hw.ir import Conv, Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch(Conv):
    """*Parameters*: those of `Conv`, but ``weight`` int32 with one kernel row; ``row_stride``, the
    rows' own; ``low_bits``: outputs are the low bits of what is shifted, not clamped;
    ``window_weight`` int32 [C], what the window sum counts of each channel, if there is a window
    term (in the column that has no offset); ``wraps``: the sums fit the drain accumulators in the
    end, whatever they pass on the way.
    """

    weight: NDArray[np.int32]  # type: ignore[assignment]
    row_stride: int = 1
    low_bits: bool = False
    window_weight: NDArray[np.int32] | None = None
    wraps: bool = False

    def _check_weight(self) -> None:
        assert self.weight.dtype == np.int32
        assert self.weight.shape[2] == 1

    @property
    def window_taps(self) -> int:
        """See `WeightLayer.window_taps`."""
        return 0 if self.window_weight is None else int(self.window_weight.sum())

    def output_shape(self, shape: Shape) -> Shape:
        """See `Layer.output_shape`."""
        channels, height, width = shape
        assert channels == self.weight.shape[1]
        columns = (width + 2 * self.padding[1] - self.kernel[1]) // self.stride + 1
        return (self.filters, (height - 1) // self.row_stride + 1, columns)
