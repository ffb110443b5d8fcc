"""One process, or several started by `torchrun` (DistributedDataParallel)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch
from torch import nn

from plum_models.errors import ModelError


@dataclass(frozen=True)
class Processes:
    """One process among those that train together.

    *Members*: ``rank`` of ``count``; ``device`` that it computes on.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Images of a batch for each process. Raises `ModelError` where it does not divide."""
        if batch % self.count:
            raise ModelError(f"a batch of {batch} does not divide by {self.count} processes")
        return batch // self.count

    def wrap(self, net: nn.Module, *, unused: bool) -> nn.Module:
        """The network to call in training: its gradients are those of all processes.

        unused: some parameters have no gradient in some steps.
        """
        if self.count == 1:
            return net
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            net, device_ids=ids, broadcast_buffers=False, find_unused_parameters=unused
        )

    def total(self, values: list[float]) -> list[float]:
        """Sums over all processes."""
        if self.count == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(sums)
        return sums.tolist()


def _device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise ModelError("device cuda: this PyTorch sees no GPU; cpu works everywhere")
        return torch.device("cuda", local_rank)
    if name != "cpu":
        raise ModelError(f"device must be auto, cpu or cuda, got {name!r}")
    return torch.device("cpu")


def join(device: str = "auto") -> Processes:
    """Join the processes that torchrun's environment names; alone without one."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes(device=_device(device, 0))
    found = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if found.type == "cuda":
        torch.cuda.set_device(found)
    torch.distributed.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return Processes(torch.distributed.get_rank(), count, found)


def leave() -> None:
    """Take leave of the others, if there are any."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
