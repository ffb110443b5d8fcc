"""Measures all points of a space, on the cores of this machine or on a Dask cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from typing import Any

from plum_hw.boards import Board
from plum_hw.config import ArrayConfig
from plum_hw.errors import BuildError
from plum_hw.explore.space import (
    Point,
    extrapolate,
    judge,
    measure_cycles,
    measure_resources,
    of_kind,
)
from plum_hw.flow.families import Resources
from plum_hw.ir import Network
from plum_hw.tools import ToolMissing

#: Told about each measurement: how many are done, of how many.
Progress = Callable[[int, int], None]


@contextlib.contextmanager
def executor(jobs: int | None = None, dask: str | None = None) -> Iterator[Executor]:
    """What runs the measurements: processes here, or the workers of a Dask scheduler.

    jobs : at a time; None for one a core
    dask : address of the scheduler, such as tcp://10.0.0.1:8786; its workers have this package and
        its tools installed

    Raises
    ------
    ToolMissing : Dask is not installed
    BuildError : there is no scheduler at that address
    """
    if dask is None:
        # Not forked: a process with threads, such as those of a progress bar, must not be.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs or os.cpu_count() or 1, mp_context=context) as pool:
            yield pool
        return
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ToolMissing(
            "the Python package distributed",
            needed_by="plum explore --dask",
            remedy="pip install 'plum-hw[explore]'",
        ) from None
    try:
        client = Client(dask, timeout="10s")
    except (OSError, ValueError) as error:
        raise BuildError(f"no Dask scheduler at {dask}: {error}") from None
    with client:
        yield client.get_executor()


def explore(
    board: Board,
    network: Network,
    configs: Sequence[ArrayConfig],
    pool: Executor,
    *,
    exact: bool = False,
    progress: Progress = lambda done, total: None,
) -> list[Point]:
    """Cycles and resources of every array, the best ones marked.

    exact : synthesise the best ones whole, where they have more than two clusters, and judge again
    """
    cycles: dict[Future[Any], int] = {
        pool.submit(measure_cycles, network, config): number
        for number, config in enumerate(configs)
    }
    points = [Point(config=config) for config in configs]
    kinds: dict[str, ArrayConfig] = {}
    done, total = 0, len(cycles)

    def count(result: Any) -> Any:
        nonlocal done
        done += 1
        progress(done, total)
        return result

    for future in as_completed(cycles):
        number = cycles[future]
        found, why = count(future.result())
        points[number] = dataclasses.replace(points[number], cycles=found, why=why)
    # What does not run need not be synthesised.
    for point in points:
        if point.cycles is not None:
            for clusters in {1, min(2, point.config.clusters)}:
                kind = of_kind(point.config, clusters)
                kinds[kind.digest] = kind
    total += len(kinds)
    costs = _resources(board, kinds, pool, count)
    for number, point in enumerate(points):
        if point.cycles is not None:
            one = costs[of_kind(point.config, 1).digest]
            cost = one
            if point.config.clusters > 1:
                two = costs[of_kind(point.config, 2).digest]
                cost = extrapolate(one, two, point.config.clusters)
            points[number] = dataclasses.replace(point, resources=cost)
    points = judge(points, board.capacity.as_dict())
    if exact:
        best = {point.config.digest: point.config for point in points if point.best}
        total += len(best)
        whole = _resources(board, best, pool, count)
        points = judge(
            [
                dataclasses.replace(point, resources=whole[point.config.digest], exact=True)
                if point.config.digest in whole
                else point
                for point in points
            ],
            board.capacity.as_dict(),
        )
    return points


def _resources(
    board: Board,
    configs: dict[str, ArrayConfig],
    pool: Executor,
    count: Callable[[Any], Any],
) -> dict[str, Resources]:
    futures = {
        pool.submit(measure_resources, board.name, config): digest
        for digest, config in configs.items()
    }
    return {futures[future]: count(future.result()) for future in as_completed(futures)}
