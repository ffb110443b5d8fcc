"""How the C library hands out the memory of tensors."""

from __future__ import annotations

import ctypes


def keep_freed_memory() -> None:
    """Let glibc reuse big blocks in place of giving them back: fresh pages cost half a step."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):  # not glibc: nothing is lost but time
        pass
