"""The networks of the zoo.

As in the literature first layers, 1x1 shortcuts and classifiers keep 8-bit weights; so do depthwise
layers, whose few weights nobody quantizes to one bit. All others are *middle layers* and take the
scheme that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from plum_hw.errors import ConfigError
from plum_hw.ir import Network

from .builder import Builder
from .weights import Options


def _residual_stages(
    net: Builder, last: str, widths: tuple[int, ...], blocks: tuple[int, ...], first_stride: int = 1
) -> str:
    """Stages of blocks of two 3x3 convolutions around which the input is added; the first block of
    each later stage has stride 2 and an 8-bit 1x1 shortcut.
    """
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
        for block in range(1, count + 1):
            at = f"s{stage}b{block}"
            stride = 2 if block == 1 and stage > 1 else first_stride
            shortcut = last
            if stride == 2:
                shortcut = net.conv(f"{at}.shortcut", last, width, (1, 1), stride=2, scheme="int8")
            inner = net.conv(f"{at}.conv1", last, width, stride=stride)
            last = net.conv(f"{at}.conv2", inner, width, residual=shortcut)
    return last


def _resnet(
    name: str, options: Options, image: tuple[int, int, int], blocks: tuple[int, ...]
) -> Builder:
    net = Builder(name, image, options)
    stem = net.conv("stem", "image", 16, scheme="int8")
    net.logits("fc", _residual_stages(net, stem, (16, 32, 64), blocks), 10)
    return net


def _resnet20(options: Options) -> Builder:
    """ResNet-20 for CIFAR-10, with 1x1 shortcuts (arXiv 1512.03385, section 4.2)."""
    return _resnet("resnet20", options, (3, 32, 32), (3, 3, 3))


def _resnet8(options: Options) -> Builder:
    """ResNet-8, MLPerf Tiny's image classification."""
    return _resnet("resnet8", options, (3, 32, 32), (1, 1, 1))


def _resnet18(options: Options) -> Builder:
    """ResNet-18 for ImageNet, with 1x1 shortcuts (arXiv 1512.03385, table 1)."""
    net = Builder("resnet18", (3, 224, 224), options)
    stem = net.conv("stem", "image", 64, (7, 7), stride=2, scheme="int8")
    pool = net.maxpool("pool", stem, kernel=3, padding=1)
    net.logits("fc", _residual_stages(net, pool, (64, 128, 256, 512), (2, 2, 2, 2)), 1000)
    return net


def _fashion(options: Options) -> Builder:
    """The shape of the shipped network (`plum_models.networks`), without its learned offsets."""
    return _resnet("fashion", options, (1, 28, 28), (1, 1, 2))


def _separable(net: Builder, index: int, last: str, width: int, stride: int) -> str:
    """A depthwise 3x3 and a pointwise layer."""
    channels = net.values[last].shape[0]
    last = net.conv(f"dw{index}", last, channels, stride=stride, depthwise=True, scheme="int8")
    return net.conv(f"pw{index}", last, width, (1, 1))


def _dscnn(options: Options) -> Builder:
    """DS-CNN, MLPerf Tiny's keyword spotting: 49 frames of 10 coefficients.

    The first kernel is 10x4 with stride 2, and kernels reach 7 rows. So the image comes with its
    rows and columns in twos as channels (4 x 25 x 6, one column of zeros on either side), where the
    same 40 weights are a 5x2 kernel of stride 1.
    """
    net = Builder("dscnn", (4, 25, 6), options)
    last = net.conv("stem", "image", 64, (5, 2), padding=(2, 0), scheme="int8")
    for index in range(1, 5):
        last = _separable(net, index, last, 64, 1)
    net.logits("fc", last, 12)
    return net


def _mobilenet025(options: Options) -> Builder:
    """MobileNetV1 0.25 at 96x96, MLPerf Tiny's visual wake words."""
    net = Builder("mobilenet025", (3, 96, 96), options)
    last = net.conv("stem", "image", 8, stride=2, scheme="int8")
    plan = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)]
    plan += [(128, 1)] * 5 + [(256, 2), (256, 1)]
    for index, (width, stride) in enumerate(plan, start=1):
        last = _separable(net, index, last, width, stride)
    net.logits("fc", last, 2)
    return net


def _autoencoder(options: Options) -> Builder:
    """MLPerf Tiny's anomaly detection, 640-128-128-128-128-8-128-128-128-128-640."""
    net = Builder("autoencoder", (640, 1, 1), options)
    last = net.dense("encode1", "image", 128, scheme="int8")
    for index in range(2, 5):
        last = net.dense(f"encode{index}", last, 128)
    last = net.dense("code", last, 8)
    for index in range(1, 5):
        last = net.dense(f"decode{index}", last, 128)
    net.dense("output", last, 640, scheme="int8")
    return net


def _vgg_small(options: Options) -> Builder:
    """VGG-small for CIFAR-10 as binary networks use it; the classifier pools over the map."""
    net = Builder("vgg-small", (3, 32, 32), options)
    last = net.conv("conv1", "image", 128, scheme="int8")
    index = 2
    for stage, (width, count) in enumerate(((128, 1), (256, 2), (512, 2)), start=1):
        for _ in range(count):
            last = net.conv(f"conv{index}", last, width)
            index += 1
        last = net.maxpool(f"pool{stage}", last)
    net.logits("fc", last, 10)
    return net


def _layer_l(options: Options) -> Builder:
    """One layer by which accelerators were compared: 3x3 'same', 16x16x16 to 16."""
    net = Builder("layer-l", (16, 16, 16), options)
    net.conv("conv", "image", 16)
    return net


_BUILDERS: dict[str, Callable[[Options], Builder]] = {
    "resnet20": _resnet20,
    "resnet8": _resnet8,
    "resnet18": _resnet18,
    "dscnn": _dscnn,
    "mobilenet025": _mobilenet025,
    "autoencoder": _autoencoder,
    "vgg-small": _vgg_small,
    "fashion": _fashion,
    "layer-l": _layer_l,
}

#: Names that `build` knows.
NAMES = tuple(_BUILDERS)


def build(name: str, options: Options | None = None) -> Network:
    """A network of the zoo; equal names and options give equal networks.

    Raises `ConfigError` for a name that it does not know.
    """
    if name not in _BUILDERS:
        raise ConfigError(f"no network {name!r}; networks are {', '.join(NAMES)}")
    return _BUILDERS[name](options or Options()).network()
