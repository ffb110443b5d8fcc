"""From a network to a bundle."""

from __future__ import annotations

from plum_host.bundle import Bundle
from plum_hw.config import ArrayConfig
from plum_hw.errors import PlumError
from plum_hw.ir import Network

from .batch import batched
from .bundling import Bundler
from .pieces import Run, grid
from .problems import Problem, Refusal
from .stages import compile_pieces, compile_whole

#: Filters that may share additions.
GROUPS = (1, 2)


def check_network(network: Network, config: ArrayConfig, batch: int = 1) -> list[Problem]:
    """Everything that the array cannot do of a network; empty if `compile_network` succeeds."""
    try:
        return _compiled(_of_batch(network, config, batch), config, 1)[1]
    except Refusal as refusal:
        return [refusal.problem]


def compile_network(
    network: Network, config: ArrayConfig, group: int | None = None, batch: int = 1
) -> Bundle:
    """Place, schedule and pack a network for one array; predict its cycles.

    A network that the memories do not hold is cut into pieces that they do, which the host puts
    together.

    group : 1, no filters share additions; 2, pairs of filters do wherever they can; None, where
        that saves cycles
    batch : inputs that are computed at a time, for dense networks; see `plum_hw.compiler.batch`

    Raises `UnsupportedError` with the first problem that `check_network` finds.
    """
    if group not in (None, *GROUPS):
        raise PlumError(f"group is {group!r}; it must be 1, 2 or None")
    bundler, problems = _compiled(_of_batch(network, config, batch), config, group)
    if bundler is None:
        first = problems[0]
        raise Refusal(first.layer, first.what, first.remedy)
    return bundler.bundle(batch)


def _of_batch(network: Network, config: ArrayConfig, batch: int) -> Network:
    return network if batch == 1 else batched(network, batch, config.lanes)


def _compiled(
    network: Network, config: ArrayConfig, group: int | None
) -> tuple[Bundler | None, list[Problem]]:
    compiled, problems = compile_whole(network, config, group)
    if compiled is None:
        if not all(problem.size for problem in problems):
            # Smaller pieces would not help.
            return None, problems
        return compile_pieces(network, config, group)
    bundler = Bundler(config, network)
    image = bundler.tensor(network.input.name, network.input.shape)
    output = bundler.tensor(network.output, network.shape_of(network.output))
    bundler.add(
        compiled,
        {network.input.name: grid(image.shape, (*image.pitch, 1))},
        None if network.gives_logits else grid(output.shape, (*output.pitch, 1)),
        [Run({network.input.name: image.at}, output.at)],
    )
    return bundler, []
