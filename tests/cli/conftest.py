"""The command line as a user has it: a process of its own, with files in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from plum_hw.compiler import check_network, compile_network
from plum_hw.golden.reference import Reference
from plum_hw.ir.random import random_images, random_network
from plum_hw.presets import preset
from tests.cli.command import SECONDS, Done, Plum, call, start


@pytest.fixture(scope="session")
def plum() -> Plum:
    """`plum ARGUMENTS`, run in a process; `environment` is added to this one's."""

    def run(*arguments: object, environment: dict[str, str] | None = None) -> Done:
        return call("plum_hw", *arguments, env={**os.environ, **(environment or {})})

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for `tiny`, its bundle, and labelled images: net.qnet, net.plum, images.npz.

    wide.plum is the same network for another array.
    """
    folder = tmp_path_factory.mktemp("cli")
    tiny, seed = preset("tiny"), 1
    while check_network(
        network := random_network(seed, max_layers=3, max_macs=40_000, logits=True), tiny
    ):
        seed += 1
    network.save(folder / "net.qnet")
    compile_network(network, tiny).save(folder / "net.plum")
    compile_network(network, preset("single")).save(folder / "wide.plum")
    images = random_images(network, 4, seed)
    labels = Reference(network).run(images).reshape(4, -1).argmax(axis=1)
    np.savez(folder / "images.npz", images=images, labels=labels)
    return folder


@pytest.fixture(scope="session")
def board() -> Iterator[str]:
    """The URL of a virtual board that runs as long as the tests do."""
    process = start("plum_hw.virtual", "--array", "tiny")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("socket://"), process.communicate()[1]
    yield url
    process.terminate()
    process.communicate(timeout=SECONDS)
