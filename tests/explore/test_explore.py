"""The design space: what is swept, what is best, how it is run and shown."""

from __future__ import annotations

import dataclasses
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from plum_hw.boards import board
from plum_hw.cli import app
from plum_hw.compiler import compile_network
from plum_hw.config import ArrayConfig
from plum_hw.errors import BuildError, ConfigError
from plum_hw.explore import command, engine
from plum_hw.explore.engine import executor, explore
from plum_hw.explore.plot import plot
from plum_hw.explore.space import Point, extrapolate, judge, measure_cycles, space
from plum_hw.flow.families import Resources
from plum_hw.presets import preset
from plum_hw.zoo import build

CAPACITY = {"lut": 1000, "ff": 2000, "ram": 50, "dsp": 40}
ARTY = board("arty")


def costs(_: str, config: ArrayConfig) -> Resources:
    """In place of a synthesis: a plain formula."""
    size = config.lanes * config.clusters
    return Resources(2000 + 30 * size, 1000 + 60 * size, 1 + size / 8, 8 * config.clusters)


def points_of(count: int, seed: int) -> list[Point]:
    draw = random.Random(seed)
    return [
        Point(
            config=dataclasses.replace(preset("tiny"), clusters=1 + number % 16),
            cycles=draw.choice([None, draw.randrange(1000, 1040)]),
            resources=Resources(draw.randrange(600, 1100), 10, draw.randrange(60), 1),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_best_points_are_those_that_none_beats(seed: int) -> None:
    """The oracle goes through all pairs with exact fractions of the part."""
    judged = judge(points_of(60, seed), CAPACITY)

    def size(point: Point) -> int:
        assert point.resources is not None
        used = point.resources.as_dict()
        return max(int(used[kind]) * 2000 * 1000 // CAPACITY[kind] for kind in CAPACITY)

    def can(point: Point) -> bool:
        return point.cycles is not None and size(point) <= 2000 * 1000

    for point in judged:
        assert point.fits == (size(point) <= 2000 * 1000)
        beaten = any(
            can(other)
            and (
                (other.cycles < point.cycles and size(other) <= size(point))
                or (other.cycles <= point.cycles and size(other) < size(point))
            )
            for other in judged
            if point.cycles is not None and other.cycles is not None
        )
        assert point.best == (can(point) and not beaten), f"seed {seed}"
    assert any(point.best for point in judged)


def test_space_is_every_combination_within_the_rules() -> None:
    found = space(preset("tiny"), clusters=[1, 6], lanes=[8, 64], act_bits=[4], act_depth=[32, 64])
    assert len({config.digest for config in found}) == len(found) == 8
    assert {(config.clusters, config.lanes, config.write_buses) for config in found} == {
        (1, 8, 1),
        (1, 64, 1),
        (6, 8, 1),
        (6, 64, 4),
    }
    with pytest.raises(ConfigError, match="lanes is 12"):
        space(preset("tiny"), clusters=[1], lanes=[12], act_bits=[8], act_depth=[64])


def test_further_clusters_cost_what_the_second_did() -> None:
    one, two = Resources(100, 200, 3, 8), Resources(170, 310, 5.5, 16)
    assert extrapolate(one, two, 1) == one
    assert extrapolate(one, two, 2) == two
    assert extrapolate(one, two, 5) == Resources(380, 640, 13, 40)


def test_cycles_are_the_compilers_and_reasons_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "measure_resources", costs)
    network = build("fashion")
    configs = space(
        preset("single"), clusters=[1, 3], lanes=[64], act_bits=[4, 8], act_depth=[1024]
    )
    seen = []
    with ThreadPoolExecutor(2) as pool:
        points = explore(
            ARTY, network, configs, pool, exact=True, progress=lambda *at: seen.append(at)
        )
    for point in points:
        if point.config.act_bits == 4:
            assert point.cycles is None
            assert "8 bits and the array stores 4" in point.why
            assert point.resources is None
        else:
            expected = compile_network(network, point.config).manifest["predicted_cycles"]
            assert point.cycles == expected
            assert point.resources == costs("", point.config)
    assert seen[-1][0] == seen[-1][1]


def test_a_dask_cluster_runs_the_same() -> None:
    from distributed import LocalCluster

    network = build("layer-l")
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        executor(dask=cluster.scheduler_address) as pool,
    ):
        found = pool.submit(measure_cycles, network, preset("tiny")).result(timeout=60)
    assert found == measure_cycles(network, preset("tiny"))
    assert found[0] is not None


def test_no_scheduler_is_said() -> None:
    with (
        pytest.raises(BuildError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:1"),
        executor(dask="tcp://127.0.0.1:1"),
    ):
        pass


def test_plot_shows_every_point() -> None:
    judged = judge(points_of(30, 3), CAPACITY)
    tree = ElementTree.fromstring(plot(judged, 10**8, "a <title>"))
    titles = [item.text for item in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == sum(point.cycles is not None for point in judged)
    assert "no point runs" in plot([], 10**8, "none")


def test_command_writes_table_json_and_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "measure_resources", costs)
    monkeypatch.setattr(command, "executor", lambda jobs, dask: ThreadPoolExecutor(1))
    arguments = [
        "explore",
        "--board",
        "arty",
        "--net",
        "layer-l",
        "--clusters",
        "1,2",
        "--lanes",
        "16,32",
    ]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "best" in result.stdout
    report = json.loads((tmp_path / "explore.json").read_text())
    assert len(report["points"]) == 4
    best = [point for point in report["points"] if point["best"]]
    assert best
    assert all(point["fits"] for point in best)
    assert (tmp_path / "explore.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--net", "nothing", "no network 'nothing'"),
        ("--clusters", "1-x", "'1-x' is no list"),
        ("--lanes", "20", "lanes is 20"),
        ("--board", "none", "no board 'none'"),
    ],
)
def test_wrong_words_are_named(option: str, value: str, said: str) -> None:
    words = {"--board": "arty", "--net": "layer-l"} | {option: value}
    result = CliRunner().invoke(
        app, ["explore", *(word for pair in words.items() for word in pair)]
    )
    assert said in str(result.exception)
