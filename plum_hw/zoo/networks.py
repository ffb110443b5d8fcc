"""The networks of the zoo.

Each is described once, by calls on a *builder*: `Builder` draws random weights, that of
`plum_models.networks` makes layers to train.

As in the literature first layers, 1x1 shortcuts and classifiers keep 8-bit weights; so do depthwise
layers, whose few weights nobody quantizes to one bit. All others are *middle layers* and take the
scheme that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from plum_hw.errors import ConfigError
from plum_hw.ir import Network, Shape

from .builder import Builder
from .weights import Options


class LayerBuilder(Protocol):
    """What most descriptions call; methods that append a layer return its name."""

    def channels(self, name: str) -> int:
        """Channels of a tensor."""

    def conv(
        self,
        name: str,
        source: str,
        filters: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        stride: int = 1,
        padding: tuple[int, int] | None = None,
        residual: str | None = None,
        depthwise: bool = False,
        scheme: str | None = None,
        signed: bool = False,
    ) -> str:
        """See `Builder.conv`."""

    def maxpool(self, name: str, source: str, kernel: int = 2, padding: int = 0) -> str:
        """See `Builder.maxpool`."""

    def logits(self, name: str, source: str, classes: int) -> str:
        """See `Builder.logits`."""


class TrainableBuilder(LayerBuilder, Protocol):
    """What the blocks of the PLUM paper need besides; `Builder` has no such layers."""

    def avgpool(self, name: str, source: str) -> str:
        """Mean of 2x2 pixels with stride 2."""

    def prelu(self, name: str, source: str) -> str:
        """PReLU with a slope and a bias per channel."""


@dataclass(frozen=True)
class Description:
    """A network as such: shape (C, H, W) of its image, and the calls on a builder."""

    image: Shape
    layers: Callable[[Any], None]


def _residual_stages(
    net: LayerBuilder,
    last: str,
    inputs: int,
    widths: tuple[int, ...],
    blocks: tuple[int, ...],
    strides: tuple[int, ...],
) -> str:
    """Stages of blocks of two 3x3 convolutions around which the input is added; a block that
    changes the shape has an 8-bit 1x1 shortcut.
    """
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
        for block in range(1, count + 1):
            at = f"s{stage}b{block}"
            stride = strides[stage - 1] if block == 1 else 1
            shortcut = last
            if stride != 1 or inputs != width:
                shortcut = net.conv(
                    f"{at}.shortcut", last, width, (1, 1), stride=stride, scheme="int8", signed=True
                )
            inner = net.conv(f"{at}.conv1", last, width, stride=stride)
            last = net.conv(f"{at}.conv2", inner, width, residual=shortcut)
            inputs = width
    return last


def residual(
    stem: int,
    widths: tuple[int, ...],
    blocks: tuple[int, ...],
    strides: tuple[int, ...],
    image: Shape = (1, 28, 28),
) -> Description:
    """A residual network for small images: 3x3 stem, stages, classifier of ten classes."""

    def layers(net: LayerBuilder) -> None:
        last = net.conv("stem", "image", stem, scheme="int8")
        net.logits("fc", _residual_stages(net, last, stem, widths, blocks, strides), 10)

    return Description(image, layers)


def _cifar(blocks: int) -> Description:
    """ResNet of 6*blocks + 2 layers for CIFAR-10, with 1x1 shortcuts (arXiv 1512.03385, 4.2)."""
    return residual(16, (16, 32, 64), (blocks,) * 3, (1, 2, 2), (3, 32, 32))


def _imagenet_stem(net: LayerBuilder, *, signed: bool = False) -> str:
    stem = net.conv("stem", "image", 64, (7, 7), stride=2, scheme="int8", signed=signed)
    return net.maxpool("pool", stem, kernel=3, padding=1)


def _imagenet(net: LayerBuilder, blocks: tuple[int, ...]) -> None:
    """ResNet-18 and 34 for ImageNet, with 1x1 shortcuts (arXiv 1512.03385, table 1)."""
    pool = _imagenet_stem(net)
    last = _residual_stages(net, pool, 64, (64, 128, 256, 512), blocks, (1, 2, 2, 2))
    net.logits("fc", last, 1000)


def _imagenet_prelu(net: TrainableBuilder, blocks: tuple[int, ...]) -> None:
    """The same in the PLUM paper's block, as Bi-Real net (arXiv 1808.00278): a shortcut around
    each convolution, PReLU behind it; where the shape changes average pool and 1x1 convolution.
    """
    last, inputs = _imagenet_stem(net), 64
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True), start=1):
        for block in range(1, count + 1):
            for half in (1, 2):
                at, shortcut, stride = f"s{stage}b{block}", last, 1
                if inputs != width:
                    stride = 2
                    pool = net.avgpool(f"{at}.pool", last)
                    shortcut = net.conv(
                        f"{at}.shortcut", pool, width, (1, 1), scheme="int8", signed=True
                    )
                total = net.conv(
                    f"{at}.conv{half}", last, width, stride=stride, residual=shortcut, signed=True
                )
                last, inputs = net.prelu(f"{at}.act{half}", total), width
    net.logits("fc", last, 1000)


def _separable(net: LayerBuilder, index: int, last: str, width: int, stride: int) -> str:
    """A depthwise 3x3 and a pointwise layer."""
    channels = net.channels(last)
    last = net.conv(f"dw{index}", last, channels, stride=stride, depthwise=True, scheme="int8")
    return net.conv(f"pw{index}", last, width, (1, 1))


def _dscnn(net: LayerBuilder) -> None:
    """DS-CNN, MLPerf Tiny's keyword spotting: 49 frames of 10 coefficients.

    The first kernel is 10x4 with stride 2, and kernels reach 7 rows. So the image comes with its
    rows and columns in twos as channels (4 x 25 x 6, one column of zeros on either side), where the
    same 40 weights are a 5x2 kernel of stride 1.
    """
    last = net.conv("stem", "image", 64, (5, 2), padding=(2, 0), scheme="int8")
    for index in range(1, 5):
        last = _separable(net, index, last, 64, 1)
    net.logits("fc", last, 12)


def _mobilenet025(net: LayerBuilder) -> None:
    """MobileNetV1 0.25 at 96x96, MLPerf Tiny's visual wake words."""
    last = net.conv("stem", "image", 8, stride=2, scheme="int8")
    plan = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)]
    plan += [(128, 1)] * 5 + [(256, 2), (256, 1)]
    for index, (width, stride) in enumerate(plan, start=1):
        last = _separable(net, index, last, width, stride)
    net.logits("fc", last, 2)


def _autoencoder(net: Builder) -> None:
    """MLPerf Tiny's anomaly detection, 640-128-128-128-128-8-128-128-128-128-640."""
    last = net.dense("encode1", "image", 128, scheme="int8")
    for index in range(2, 5):
        last = net.dense(f"encode{index}", last, 128)
    last = net.dense("code", last, 8)
    for index in range(1, 5):
        last = net.dense(f"decode{index}", last, 128)
    net.dense("output", last, 640, scheme="int8")


def _vgg_small(net: LayerBuilder) -> None:
    """VGG-small for CIFAR-10 as binary networks use it; the classifier pools over the map."""
    last = net.conv("conv1", "image", 128, scheme="int8")
    index = 2
    for stage, (width, count) in enumerate(((128, 1), (256, 2), (512, 2)), start=1):
        for _ in range(count):
            last = net.conv(f"conv{index}", last, width)
            index += 1
        last = net.maxpool(f"pool{stage}", last)
    net.logits("fc", last, 10)


def _layer_l(net: LayerBuilder) -> None:
    """One layer by which accelerators were compared: 3x3 'same', 16x16x16 to 16."""
    net.conv("conv", "image", 16)


_IMAGENET = (3, 224, 224)

#: All networks by name. "fashion" is the shipped network with one more stage at full size.
DESCRIPTIONS: dict[str, Description] = {
    "resnet8": _cifar(1),  # MLPerf Tiny's image classification
    "resnet20": _cifar(3),
    "resnet32": _cifar(5),
    "resnet44": _cifar(7),
    "resnet56": _cifar(9),
    "resnet110": _cifar(18),
    "resnet18": Description(_IMAGENET, partial(_imagenet, blocks=(2, 2, 2, 2))),
    "resnet34": Description(_IMAGENET, partial(_imagenet, blocks=(3, 4, 6, 3))),
    "resnet18-prelu": Description(_IMAGENET, partial(_imagenet_prelu, blocks=(2, 2, 2, 2))),
    "resnet34-prelu": Description(_IMAGENET, partial(_imagenet_prelu, blocks=(3, 4, 6, 3))),
    "dscnn": Description((4, 25, 6), _dscnn),
    "mobilenet025": Description((3, 96, 96), _mobilenet025),
    "autoencoder": Description((640, 1, 1), _autoencoder),
    "vgg-small": Description((3, 32, 32), _vgg_small),
    "fashion": residual(16, (16, 32, 64), (1, 1, 2), (1, 2, 2)),
    "layer-l": Description((16, 16, 16), _layer_l),
}

#: Names that `build` knows.
NAMES = (
    "resnet20",
    "resnet8",
    "resnet18",
    "dscnn",
    "mobilenet025",
    "autoencoder",
    "vgg-small",
    "fashion",
    "layer-l",
)


def build(name: str, options: Options | None = None) -> Network:
    """A network of the zoo; equal names and options give equal networks.

    Raises `ConfigError` for a name that it does not know.
    """
    if name not in NAMES:
        raise ConfigError(f"no network {name!r}; networks are {', '.join(NAMES)}")
    description = DESCRIPTIONS[name]
    net = Builder(name, description.image, options or Options())
    description.layers(net)
    return net.network()
