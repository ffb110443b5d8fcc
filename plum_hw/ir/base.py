"""What the layers of a quantized network have in common.

All are frozen and keyword-only and check themselves on construction: whatever is wrong raises
`NetworkError` in one line that names the layer, the value and what would be right. Arrays are
copied and made read-only. Activations are unsigned integers of shape (C, H, W).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from plum_hw.errors import NetworkError

from . import limits
from .limits import check_int, check_name, show

Shape = tuple[int, int, int]

LOGIT_BITS = 32
"""``out_bits`` of logits: signed, not clamped."""

SCHEMES = ("signed_binary", "binary", "ternary", "int")

_SCHEME_BITS = {"signed_binary": (1, 1), "binary": (1, 1), "ternary": (2, 2), "int": (2, 8)}
_SCHEME_VALUES = {"signed_binary": "-1, 0 or +1", "binary": "-1 or +1", "ternary": "-1, 0 or +1"}


def _freeze(value: Any) -> Any:
    """A read-only C-contiguous copy of an array; anything else as it is (refused later)."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        value = np.array(value, order="C", copy=True, subok=False)
        value.setflags(write=False)
    return value


def _check_array(value: Any, dtype: type, what: str) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != np.dtype(dtype):
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise NetworkError(f"{what} is {kind}, must be an array of {np.dtype(dtype)}")


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The network's input.

    *Parameters*: ``name``; ``shape`` (C, H, W); ``bits`` of each unsigned value, 1 to 8.
    """

    name: str
    shape: Shape
    bits: int

    def __post_init__(self) -> None:
        check_name(self.name, "input name")
        shape = limits.check_shape(self.shape, f"input {self.name}: shape")
        object.__setattr__(self, "shape", shape)
        check_int(self.bits, 1, 8, f"input {self.name}: bits")


@dataclass(frozen=True, kw_only=True, eq=False)
class Requant:
    """From accumulators to outputs, one constant per output channel:
    ``t = scale*acc + window*S + residual*res + bias``, ``y = clamp(floor((t + half) / 2**shift))``.

    *Parameters*: ``scale`` int32 [K]; ``bias`` int64 [K]; ``window`` int32 [K] or None (``S`` is
    the sum of the whole window); ``residual`` int32 [K], exactly when there is a residual input;
    ``shift`` 1 to 48 (0 for logits); ``out_bits`` 1 to 8, or 32 for logits.

    Checked by the layer that holds it.
    """

    scale: NDArray[np.int32]
    bias: NDArray[np.int64]
    window: NDArray[np.int32] | None = None
    residual: NDArray[np.int32] | None = None
    shift: int
    out_bits: int

    def __post_init__(self) -> None:
        for field in ("scale", "bias", "window", "residual"):
            object.__setattr__(self, field, _freeze(getattr(self, field)))

    @property
    def half(self) -> int:
        """What is added before the shift, so that it rounds half up."""
        return 1 << (self.shift - 1) if self.shift else 0

    @property
    def is_logits(self) -> bool:
        """Whether outputs are signed 32-bit logits."""
        return self.out_bits == LOGIT_BITS


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """What all layers share.

    *Parameters*: ``name``; ``inputs``, names of the tensors read (the second is the residual).
    """

    op: ClassVar[str]
    arity: ClassVar[tuple[int, int]] = (1, 1)

    name: str
    inputs: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name(self.name, "layer name")
        low, high = self.arity
        if not isinstance(self.inputs, tuple | list) or not low <= len(self.inputs) <= high:
            count = f"{low}" if low == high else f"{low} or {high}"
            self.fail(f"inputs is {show(self.inputs)}, must be a list of {count} names")
        for name in self.inputs:
            check_name(name, f"layer {self.name}: input")
        object.__setattr__(self, "inputs", tuple(self.inputs))

    def fail(self, message: str) -> None:
        """Raise `NetworkError` for this layer."""
        raise NetworkError(f"layer {self.name}: {message}")

    @property
    def source(self) -> str:
        """Name of the first input."""
        return self.inputs[0]

    @property
    def residual_source(self) -> str | None:
        """Name of the residual input, if there is one."""
        return self.inputs[1] if len(self.inputs) == 2 else None

    @property
    def density(self) -> float | None:
        """Share of non-zero weights, 0 to 1; None without weights."""
        return None

    def output_shape(self, shape: Shape) -> Shape:
        """Shape (C, H, W) of the output for a first input of ``shape``, which must fit."""
        raise NotImplementedError

    def output_bits(self, bits: int) -> int:
        """Bits of the output for a first input of ``bits`` bits (32: signed logits)."""
        raise NotImplementedError

    def macs(self, shape: Shape) -> int:
        """Multiply-accumulates for one image whose first input has ``shape``.

        Positions in the padding and zero weights count; layers without weights have 0.
        """
        return 0


@dataclass(frozen=True, kw_only=True, eq=False)
class RequantLayer(Layer):
    """A layer with a requantizer (all but `MaxPool`)."""

    may_window: ClassVar[bool] = False
    may_logits: ClassVar[bool] = False

    requant: Requant

    def output_bits(self, bits: int) -> int:
        """See `Layer.output_bits`."""
        return self.requant.out_bits

    def _check_requant(self, channels: int | None) -> None:
        """Types, lengths and ranges; ``channels`` None takes the number from ``scale``."""
        q = self.requant
        if not isinstance(q, Requant):
            self.fail(f"requant is {type(q).__name__}, must be a Requant")
        if self.may_logits and q.out_bits == LOGIT_BITS and isinstance(q.out_bits, int):
            check_int(q.shift, 0, 0, f"layer {self.name}: shift of logits")
        elif q.out_bits == LOGIT_BITS:
            self.fail("out_bits is 32 (logits), only a dense layer may be like that")
        else:
            check_int(q.out_bits, 1, 8, f"layer {self.name}: out_bits")
            check_int(q.shift, 1, limits.MAX_SHIFT, f"layer {self.name}: shift")
        if q.window is not None and not self.may_window:
            self.fail("has a window term, only dense and conv with groups 1 may have one")
        if (q.residual is not None) != (len(self.inputs) == 2):
            self.fail(
                "has a residual input and needs residual constants"
                if q.residual is None
                else "has residual constants and needs a second input"
            )
        for field, dtype in (
            ("scale", np.int32),
            ("bias", np.int64),
            ("window", np.int32),
            ("residual", np.int32),
        ):
            value = getattr(q, field)
            if value is None and field in ("window", "residual"):
                continue
            _check_array(value, dtype, f"layer {self.name}: {field}")
            if channels is None and value.ndim == 1:
                channels = value.shape[0]
            if value.shape != (channels,):
                want = "(channels,)" if channels is None else f"({channels},)"
                self.fail(f"{field} has shape {value.shape}, must be {want}")

    def _check_channels(self, channels: int) -> None:
        """Once the input's channels are known: one constant each."""
        if self.requant.scale.shape != (channels,):
            self.fail(f"scale has shape {self.requant.scale.shape}, must be ({channels},)")


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightLayer(RequantLayer):
    """A layer with weights; a filter is ``weight[k]``.

    *Parameters*: ``weight`` int8; ``scheme``, one of `SCHEMES`; ``weight_bits``: 1 for
    signed_binary and binary, 2 for ternary, 2 to 8 for int.
    """

    weight_dims: ClassVar[int]

    weight: NDArray[np.int8]
    scheme: str
    weight_bits: int

    @property
    def filters(self) -> int:
        """Number of output channels."""
        return int(self.weight.shape[0])

    @property
    def density(self) -> float:
        """Share of non-zero weights, 0 to 1."""
        return float(np.count_nonzero(self.weight)) / self.weight.size

    @property
    def window_taps(self) -> int:
        """How often the window sum counts an input, over all inputs of a window."""
        return int(self.weight[0].size)

    def _check_weight(self) -> None:
        object.__setattr__(self, "weight", _freeze(self.weight))
        weight = self.weight
        _check_array(weight, np.int8, f"layer {self.name}: weight")
        if weight.ndim != self.weight_dims or weight.size == 0:
            self.fail(
                f"weight has shape {show(weight.shape)}, must be {self.weight_dims} sizes >= 1"
            )
        if max(weight.shape[:2]) > limits.MAX_CHANNELS:
            self.fail(f"weight has shape {weight.shape}, more than {limits.MAX_CHANNELS} channels")
        if self.scheme not in SCHEMES:
            self.fail(f"scheme is {show(self.scheme)}, must be one of {', '.join(SCHEMES)}")
        low, high = _SCHEME_BITS[self.scheme]
        check_int(self.weight_bits, low, high, f"layer {self.name}: weight_bits of {self.scheme}")
        if self.scheme == "int":
            half = 1 << (self.weight_bits - 1)
            wrong = (weight < -half) | (weight > half - 1)
            values = f"{-half} to {half - 1} ({self.weight_bits} bits)"
        else:
            wrong = (weight < -1) | (weight > 1)
            if self.scheme == "binary":
                wrong |= weight == 0
            values = _SCHEME_VALUES[self.scheme]
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            self.fail(
                f"filter {where[0]}: {self.scheme} weight at {list(where[1:])} is "
                f"{int(weight[where])}, must be {values}"
            )
        if self.scheme == "signed_binary":
            flat = weight.reshape(weight.shape[0], -1)
            both = (flat.max(axis=1) == 1) & (flat.min(axis=1) == -1)
            if both.any():
                self.fail(
                    f"filter {int(np.argmax(both))}: signed_binary weights hold both +1 and "
                    "-1, a filter must be {0, +1} or {0, -1}"
                )
