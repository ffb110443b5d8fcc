"""Tests of models/: one thread, since their networks are too small to share."""

import pytest
import torch

from plum_models.runtime import keep_freed_memory


@pytest.fixture(autouse=True)
def quick() -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
