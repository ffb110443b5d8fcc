"""Requantization constants of a layer, in the form and within the widths of the array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plum_hw.config import SHIFTS, ArrayConfig
from plum_hw.ir import Layer, Network, RequantLayer
from plum_hw.layouts import LOW_BITS, requant_layout

from .patch import Patch
from .problems import Refusal

Array = NDArray[np.int64]


@dataclass(frozen=True)
class Constants:
    """Constants of one layer.

    *Members*: ``scale``, ``bias`` (rounding included), ``window``, ``residual`` int64 [filters] as
    the table memory holds them; ``shift``, index into `SHIFTS`; ``out_bits`` of the clamp.
    """

    scale: Array
    bias: Array
    window: Array
    residual: Array
    shift: int
    out_bits: int

    def pack(
        self, config: ArrayConfig, filters: Sequence[int | None], held: int | None = None
    ) -> list[int]:
        """Words of table memory, four a filter, for some channels in their order; None is a filter
        that gives nothing.

        held : channels that each cluster holds of the output, if not all
        """
        layout = requant_layout(config)
        words = []
        for channel in filters:
            if channel is None:
                words += [0] * layout.words
                continue
            share, local = (0, channel) if held is None else divmod(channel, held)
            words += layout.pack(
                scale=int(self.scale[channel]),
                bias=int(self.bias[channel]),
                window=int(self.window[channel]),
                residual=int(self.residual[channel]),
                channel=local,
                dest=share,
            )
        return words


def pass_on(channels: int, bits: int) -> Constants:
    """Constants that pass a value on as it is."""
    nothing = np.zeros(channels, np.int64)
    scale = np.full(channels, 1 << SHIFTS[0], np.int64)
    return Constants(scale, nothing, nothing, nothing, 0, bits)


def layer_constants(
    config: ArrayConfig, network: Network, layer: Layer, flipped: NDArray[np.bool_]
) -> Constants:
    """Constants of one layer; the shift is raised to one that the array has.

    flipped : bool [filters], filters whose weights are stored negated

    Raises `Refusal` where a constant or a sum does not fit.
    """
    if not isinstance(layer, RequantLayer):
        return pass_on(network.shape_of(layer.name)[0], network.bits_of(layer.name))
    requant = layer.requant
    zeros = np.zeros(len(requant.scale), np.int64)
    scale = requant.scale.astype(np.int64)
    window = zeros if requant.window is None else requant.window.astype(np.int64)
    residual = zeros if requant.residual is None else requant.residual.astype(np.int64)
    raise_by, index = 0, 0
    if not requant.is_logits:
        index = next((i for i, shift in enumerate(SHIFTS) if shift >= requant.shift), -1)
        if index < 0:
            raise Refusal(
                layer.name,
                f"shift is {requant.shift}",
                f"export it with a shift of at most {SHIFTS[-1]}",
            )
        raise_by = SHIFTS[index] - requant.shift
    _check_constants(config, layer.name, raise_by, scale=scale, window=window, residual=residual)
    worst = network.bounds(layer).t_abs << raise_by
    limit = (1 << (config.bias_bits - 1)) - 1
    if worst > limit:
        raise Refusal(
            layer.name,
            f"sums before the shift can reach {worst}{_raised(raise_by)} and the requantizer holds "
            f"{limit}",
            "export it with smaller scales and bias",
        )
    bias = (requant.bias + requant.half) << raise_by
    return Constants(
        np.where(flipped, -scale, scale) << raise_by,
        bias,
        window << raise_by,
        residual << raise_by,
        index,
        _out_bits(config, layer),
    )


def _out_bits(config: ArrayConfig, layer: RequantLayer) -> int:
    if isinstance(layer, Patch) and layer.low_bits:
        return LOW_BITS
    return config.act_bits if layer.requant.is_logits else layer.requant.out_bits


def _raised(raise_by: int) -> str:
    return f" (times {1 << raise_by}, as the shift is raised by {raise_by})" if raise_by else ""


def _check_constants(config: ArrayConfig, layer: str, raise_by: int, **constants: Array) -> None:
    limit = (1 << (config.scale_bits - 1)) - 1
    for name, values in constants.items():
        worst = int(np.argmax(np.abs(values)))
        if abs(int(values[worst])) << raise_by > limit:
            raise Refusal(
                layer,
                f"{name} of filter {worst} is {values[worst]}{_raised(raise_by)} and the "
                f"requantizer takes at most {limit}",
                f"export it with a shift of {', '.join(map(str, SHIFTS))} and constants of at most "
                f"{limit}"
                if raise_by
                else f"export it with constants of at most {limit}, that is a smaller shift",
            )
