"""`plum bench` and the committed results."""

import dataclasses
import json
import re

import pytest
from typer.testing import CliRunner

from benchmarks.bars import Bar, bars
from benchmarks.placed import load_boards
from benchmarks.report import performance
from benchmarks.resources import ARRAYS, load_resources
from benchmarks.results import Results, energy_ratio
from benchmarks.run import (
    BUILDS,
    COMPARED,
    ENERGY,
    PERFORMANCE,
    RESULTS,
    ROOT,
    Case,
    cases,
    dumps,
    entry_key,
    result,
)
from plum_hw import bench, console
from plum_hw.cli import app
from plum_hw.compiler import compile_network
from plum_hw.presets import PRESETS, preset
from plum_hw.zoo import NAMES, SCHEMES, Options, build

README = ROOT / "README.md"
KEYS = {
    "network",
    "scheme",
    "density",
    "array",
    "clusters",
    "group",
    "parts",
    "predicted_cycles",
    "layers",
    "macs",
    "weight_bits",
    "milliseconds_at_100_mhz",
}


def run(*arguments: str) -> dict:
    outcome = CliRunner().invoke(app, ["bench", *arguments, "--json"], catch_exceptions=False)
    assert outcome.exit_code == 0
    report: dict = json.loads(outcome.stdout)
    return report


def test_a_report_has_all_figures():
    report = run("layer-l", "--layers")
    assert set(report) >= KEYS
    assert report["density"]["asked"] == 0.35
    assert report["density"]["real"] == pytest.approx(0.35, abs=1e-3)
    assert report["predicted_cycles"] == sum(layer["cycles"] for layer in report["layers"])
    assert report["milliseconds_at_100_mhz"] == report["predicted_cycles"] / 1e5
    assert "not placed and routed" in report["clock"]
    (layer,) = report["layers"]
    assert set(layer) >= {"name", "cycles", "density", "lane_use", "bound_by", "beats"}
    assert layer["group"] in (1, 2)
    rows, filters = layer["split"]
    assert 1 <= rows * filters <= report["clusters"] == preset("arty-a7-35t").clusters
    assert set(layer["stalls"]) == {"drain", "emitter"}
    assert (report["group"], report["parts"]) == ("auto", 1)


def test_mask_bits_are_those_of_the_weights():
    """Layer L: each of three kernel columns of a filter is a run of 48 bits, two words."""
    report = run("layer-l", "--array", "cluster", "--group", "1")
    assert report["weight_bits"] == 16 * 3 * 2 * 32
    doubled = run("layer-l", "--array", "cluster", "--group", "1", "--scheme", "binary")
    assert doubled["weight_bits"] == 2 * report["weight_bits"]
    paired = run("layer-l", "--array", "cluster", "--group", "2")
    assert report["weight_bits"] < paired["weight_bits"] < 2 * report["weight_bits"]


def test_pairs_share_additions():
    one, two, chosen = (
        run("layer-l", "--array", "cluster", "--group", group) for group in ("1", "2", "auto")
    )
    assert [one["group"], two["group"], chosen["group"]] == [1, 2, "auto"]
    assert (one["layers"][0]["group"], two["layers"][0]["group"]) == (1, 2)
    assert two["layers"][0]["beats"] < one["layers"][0]["beats"]
    fewest = min(one["predicted_cycles"], two["predicted_cycles"])
    assert chosen["predicted_cycles"] == fewest


def test_options_reach_the_network():
    dense, sparse = (
        run("layer-l", "--array", "cluster", "--group", "1", "--density", d)["predicted_cycles"]
        for d in ("0.6", "0.2")
    )
    assert dense > 2.5 * sparse
    assert run("layer-l", "--seed", "7")["seed"] == 7
    assert run("layer-l", "--act-bits", "4")["act_bits"] == 4
    assert run("layer-l", "--scheme", "binary")["density"] == {"asked": None, "real": 1.0}


def test_comparison_has_both_binaries_and_the_right_direction():
    report = run("layer-l", "--compare", "--array", "tiny", "--group", "1")
    assert [each["scheme"] for each in report["schemes"]] == list(SCHEMES)
    ratios = report["ratios"]
    assert ratios["binary"] > ratios["binary-offset"] > 1
    assert ratios["ternary"] >= 1
    assert ratios["int8"] > ratios["binary"]
    bits = {each["scheme"]: each["weight_bits"] for each in report["schemes"]}
    assert bits["ternary"] == bits["binary"] == 2 * bits["signed-binary"]


def test_comparison_names_what_is_refused(monkeypatch):
    config = dataclasses.replace(preset("cluster"), name="flat", act_bits=4)
    monkeypatch.setitem(PRESETS, "flat", config)
    report = run("layer-l", "--compare", "--array", "flat")
    assert all(ratio is None for ratio in report["ratios"].values())
    for refused in report["schemes"]:
        assert "8 bits and the array stores 4" in refused["refused"][0]
    text = CliRunner().invoke(app, ["bench", "layer-l", "--compare", "--layers"]).stdout
    for word in ("binary-offset", "ratio", "bound by", "100 MHz assumed, not placed and routed"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet"], "no network 'lenet'; networks are"),
        (["layer-l", "--scheme", "x"], "no scheme 'x'; schemes are"),
        (["layer-l", "--density", "1.5"], "density is 1.5; it must be above 0 and at most 1"),
        (["layer-l", "--density", "much"], "'--density'"),
        (["layer-l", "--array", "huge"], "no array preset 'huge'"),
        (["layer-l", "--seed", "-2"], "seed is -2"),
        (["layer-l", "--group", "3"], "--group 3: it must be one of auto, 1, 2"),
        (["layer-l", "--batch", "7"], "has 16x16 pixels; inputs of a batch have one"),
        (["autoencoder", "--batch", "65"], "--batch 65: it must be 1 to 64"),
        (["autoencoder", "--array", "cluster"], "does not fit cluster: layer encode1: sums can"),
    ],
)
def test_errors_are_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["plum", "bench", *arguments])
    with pytest.raises(SystemExit) as stop:
        console.run(app, "plum")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in re.sub(r"\s+", " ", error)
    assert error.count("\n") == 1


def test_simulation_equals_the_prediction():
    """The smallest array, in Verilator."""
    report = run("layer-l", "--array", "tiny", "--simulate")
    assert report["simulated_cycles"] == report["predicted_cycles"]
    assert report["equal_to_golden"]
    assert report["seconds"] > 0


def test_a_wrong_simulation_is_an_error(monkeypatch):
    network, config = build("layer-l"), preset("tiny")
    bundle = compile_network(network, config)
    assert bench.simulate(network, bundle, seed=0, device="golden")["equal_to_golden"]
    other = build("layer-l", Options(seed=1))
    assert not bench.simulate(other, bundle, seed=0, device="golden")["equal_to_golden"]
    monkeypatch.setattr(bench, "simulate", lambda *_, **__: {"equal_to_golden": False})
    outcome = CliRunner().invoke(app, ["bench", "layer-l", "--simulate", "--json"])
    assert outcome.exit_code == 1


# ---- committed files


def committed() -> tuple[dict, dict | None]:
    energy = json.loads(ENERGY.read_text()) if ENERGY.exists() else None
    return json.loads(RESULTS.read_text()), energy


def test_resources_are_of_the_arrays_as_they_are():
    """What is left out is of an array that has changed: run python -m benchmarks.resources."""
    assert set(load_resources()) == set(ARRAYS)
    works = [bar.work for bar in bars(Results(committed()[0]), None, load_resources())]
    assert works.count("that cluster with its drain") == 3
    assert sum(work.startswith(COMPARED) for work in works) == 2


def test_performance_is_what_the_results_give():
    results, energy = committed()
    assert RESULTS.read_text() == dumps(results)
    text = performance(results, energy, load_boards(BUILDS), load_resources())
    assert PERFORMANCE.read_text() == text, "run python -m benchmarks.run"


def test_milliseconds_at_a_placed_clock():
    results, energy = committed()
    config = preset("arty-a7-100t")
    build = {
        "board": "some-board",
        "part": "LFE5U-85F",
        "array": config.name,
        "digest": config.digest,
        "clusters": config.clusters,
        "clock_mhz": 50.0,
        "fmax_mhz": 62.5,
        "resources": {},
    }
    cycles = Results(results).cycles("resnet20", array=config.name)
    assert cycles is not None
    text = performance(results, energy, [build])
    row = next(line for line in text.splitlines() if "some-board" in line and "resnet20" in line)
    assert f"| 50 | 62.5 | resnet20 | {cycles:,} | {cycles / 62_500:.3f} |" in row
    assert "some-board" not in performance(results, energy, [{**build, "fmax_mhz": None}])
    # Another array's clock says nothing of this one.
    assert "some-board" not in performance(results, energy, [{**build, "digest": "0" * 32}])


def test_results_are_of_all_cases():
    results, _ = committed()
    found = [entry_key(each) for each in [*results["runs"], *results["refused"]]]
    assert len(found) == len(set(found))
    assert set(found) == {case.key for name in NAMES for case in cases(name)}


@pytest.mark.parametrize("name", ["layer-l", "fashion"])
@pytest.mark.parametrize("group", [1, None])
def test_results_are_the_compilers(name, group):
    results, _ = committed()
    known = {entry_key(each): each for each in [*results["runs"], *results["refused"]]}
    for scheme in SCHEMES:
        case = Case(name, COMPARED, Options(scheme=scheme), group)
        entry = result(case)
        before = known[case.key]
        assert {key: before[key] for key in entry} == entry, "run python -m benchmarks.run"


def test_what_the_text_says_of_the_results_holds():
    """Pairs help binary more than signed binary."""
    results = Results(committed()[0])
    for name in ("resnet8", "resnet20", "fashion"):
        plain, chosen = (results.ratio(name, "binary", 0.35, group) for group in (1, "auto"))
        assert plain is not None
        assert chosen is not None
        assert plain > chosen > 1


def test_simulated_results_are_as_predicted():
    runs = committed()[0]["runs"]
    simulated = [entry for entry in runs if "simulated_cycles" in entry]
    assert {entry["scheme"] for entry in simulated} >= {"signed-binary", "binary"}
    for entry in simulated:
        assert entry["simulated_cycles"] == entry["predicted_cycles"], entry_key(entry)
        assert entry["equal_to_golden"]
        assert entry.get("cycles_as_predicted", True)
    assert "**DIFFERENT**" not in PERFORMANCE.read_text()


def test_readme_says_what_the_results_say():
    data, energy = committed()
    results, resources, text = Results(data), load_resources(), README.read_text()

    def cycles(network: str, array: str = COMPARED) -> str:
        figures = [results.cycles(network, array=array, group=group) for group in (1, "auto")]
        return " / ".join(f"{figure:,}" for figure in figures)

    found = [cycles("resnet20"), cycles("resnet20", "arty-a7-100t")]
    found += [cycles("vgg-small"), cycles("resnet18")]
    tiny = ("resnet8", "dscnn", "mobilenet025")
    found.append(" / ".join(f"{results.cycles(name):,}" for name in tiny))
    dense = ("autoencoder", "autoencoder x64")
    found.append(" / ".join(f"{results.cycles(name):,}" for name in dense))
    offset = (results.ratio("resnet20", each, 0.35, 1) for each in ("binary", "binary-offset"))
    found.append(" / ".join(f"{ratio:.2f}x" for ratio in offset))
    assert energy is not None
    found.append(f"{energy_ratio(energy, 'binary', 1):.2f}x (relative figure")
    for array, used in (
        ("cluster", resources["cluster"]["blocks"]["cluster"]),
        (COMPARED, resources[COMPARED]["resources"]),
    ):
        line = next(
            each for each in text.splitlines() if f"`{array}`" in each and "synthesis" in each
        )
        assert f"{used['lut']:,} LUT" in line
        assert f"{used['ram']:g} RAMB36" in line
        assert f"{used['dsp']} DSP48" in line
    assert [figure for figure in found if figure not in text] == []


def test_every_bar_has_a_figure():
    results, energy = committed()
    for bar in bars(Results(results), energy, load_resources()):
        assert bar.got is not None, bar.work
        assert bar.row()[-1] == ("met" if bar.met else "**not met**")


@pytest.mark.parametrize(
    ("least", "got", "met"),
    [(True, 2.0, True), (True, 1.99, False), (False, 2.0, True), (False, 2.01, False)],
)
def test_a_bar_is_met_or_not(least, got, met):
    assert Bar("x", 2.0, got, least).met is met
    assert not Bar("x", 2.0, None, least).met
