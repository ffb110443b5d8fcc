"""How PyTorch runs on this machine: memory and threads."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def keep_freed_memory() -> None:
    """Let glibc reuse big blocks in place of giving them back: fresh pages cost half a step."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):  # not glibc: nothing is lost but time
        pass


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for many small products: on a busy machine the threads of each wait for one
    another, which was measured to cost twenty times the work itself.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
