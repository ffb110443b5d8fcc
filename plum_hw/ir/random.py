"""Random valid networks and images for tests: everything is drawn from one seed.

Requantization constants follow from the values that random images give, so that outputs are neither
all zero nor all saturated; now and then from the worst case instead.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plum_hw.errors import ConfigError

from .draw import Draw, Tensor
from .layers import SCHEMES, InputSpec
from .network import Network
from .samples import SHIFTS, draw_images

__all__ = ["OPS", "SHIFTS", "random_images", "random_network"]

OPS = ("conv", "depthwise", "residual", "add", "avgpool", "maxpool", "dense")
"""What ``ops`` may name; ``residual`` is a convolution with a residual input."""

_SAMPLES = 6

_WEIGHTS = {
    "conv": 6.0,
    "residual": 4.0,
    "depthwise": 2.0,
    "add": 1.5,
    "avgpool": 1.0,
    "maxpool": 1.5,
}


def _check(name: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if value not in known:
            raise ConfigError(f"{name} holds {value!r}, must be of {', '.join(known)}")
    if not values:
        raise ConfigError(f"{name} is empty, must be of {', '.join(known)}")
    return tuple(values)


def random_network(
    seed: int,
    *,
    max_layers: int = 7,
    max_macs: int = 2_000_000,
    max_kernel: int = 7,
    max_width: int = 40,
    max_channels: int = 24,
    min_width: int = 3,
    ops: Sequence[str] = OPS,
    schemes: Sequence[str] = SCHEMES,
    in_bits: tuple[int, int] = (1, 8),
    out_bits: tuple[int, int] = (1, 8),
    weight_bits: tuple[int, int] = (2, 8),
    window: bool = True,
    logits: bool | None = None,
) -> Network:
    """Draw a valid network; the same seed and limits give the same network.

    *Parameters*: ``max_layers``, at least 1; ``max_macs`` an image; ``max_kernel`` of a side, of
    convolutions and pools; ``min_width``, ``max_width``: height and width of the input, and the
    largest of any map; ``max_channels``; ``ops``, of `OPS`; ``schemes``; ``in_bits``, ``out_bits``,
    ``weight_bits``: lowest and highest width (the last of scheme ``int``); ``window``: whether
    window terms may appear; ``logits``: whether the last layer gives logits (None draws it; needs
    ``dense`` in ``ops``).

    Raises `ConfigError` for a limit that leaves nothing to draw.
    """
    ops = _check("ops", ops, OPS)
    schemes = _check("schemes", schemes, SCHEMES)
    if max_layers < 1 or max_kernel < 1 or max_channels < 1 or not 1 <= min_width <= max_width:
        raise ConfigError(
            f"max_layers {max_layers}, max_kernel {max_kernel}, max_channels {max_channels}, "
            f"min_width {min_width}, max_width {max_width}: all must be 1 or more, in order"
        )
    if logits and "dense" not in ops:
        raise ConfigError("logits need a dense layer, add 'dense' to ops")
    rng = np.random.default_rng(seed)
    side_high = max_width if rng.random() < 0.4 else min(max_width, max(min_width, 16))
    height = int(rng.integers(min_width, side_high, endpoint=True))
    across = int(rng.integers(min_width, side_high, endpoint=True))
    channels = int(rng.choice([1, 1, 2, 3, 4, 5, 8]))
    bits = in_bits[1] if rng.random() < 0.6 else int(rng.integers(*in_bits, endpoint=True))
    spec = InputSpec(name="image", shape=(min(channels, max_channels), height, across), bits=bits)
    draw = Draw(
        rng=rng,
        schemes=schemes,
        max_kernel=max_kernel,
        max_width=max_width,
        max_channels=max_channels,
        max_macs=max_macs,
        out_bits=out_bits,
        weight_bits=weight_bits,
        window=window,
        spec=spec,
    )
    samples = draw_images(spec, _SAMPLES, rng)
    draw.tensors.append(Tensor("image", spec.shape, bits, samples.swapaxes(0, 1)))

    if logits is None:
        logits = "dense" in ops and draw.chance(0.6)
    body = [op for op in ops if op != "dense"]
    hidden = 1 if "dense" in ops and not logits and (not body or draw.chance(0.3)) else 0
    if logits and draw.chance(0.15):
        hidden = 1
    tail = int(logits) + hidden
    count = max(0, draw.integer(max(1, min(3, max_layers)), max_layers) - tail) if body else 0
    attempts = 0
    while len(draw.layers) < count and attempts < 8 * (count + 1):
        attempts += 1
        if not draw.layers and "conv" in body and attempts == 1 and draw.chance(0.6):
            op = "conv"
        else:
            shares = np.array([_WEIGHTS[o] for o in body])
            op = body[int(rng.choice(len(body), p=shares / shares.sum()))]
        if op in ("conv", "depthwise", "residual"):
            draw.conv(op)
        elif op == "add":
            draw.add()
        else:
            draw.pool(op)
    for index in range(tail):
        if hidden and index == 0 and len(draw.layers) + tail - 1 >= max_layers and logits:
            continue
        draw.dense(logits=logits and index == tail - 1)
    if not draw.layers:
        raise ConfigError(f"no layer of {', '.join(ops)} fits into max_macs {max_macs}, use more")
    labels = None
    if logits and draw.chance(0.5):
        labels = tuple(f"class {k}" for k in range(draw.current.shape[0]))
    return Network(
        name=f"random-{seed}",
        input=spec,
        layers=tuple(draw.layers),
        output=draw.current.name,
        labels=labels,
    )


def random_images(network: Network, count: int, seed: int) -> NDArray[np.uint8]:
    """Draw images uint8 [count, C, H, W] for a network.

    The first is all zero and the second all at the largest value; then uniform noise, noise of the
    two extremes, and smooth images.
    """
    return draw_images(network.input, count, np.random.default_rng(seed))
