"""`plum bench` and the committed results."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.report import BARS, PAPER_BINARY, Results, performance
from benchmarks.run import ARRAYS, PERFORMANCE, RESULTS, cases, dumps, result
from plum_hw import bench, console
from plum_hw.cli import app
from plum_hw.compiler import compile_network
from plum_hw.config import preset
from plum_hw.zoo import SCHEMES, Options, build

KEYS = {
    "network",
    "scheme",
    "density",
    "array",
    "clusters",
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
    assert set(layer) >= {"name", "cycles", "density", "group", "lane_use", "bound_by", "beats"}
    assert set(layer["stalls"]) == {"drain", "emitter"}
    config = preset("arty-a7-35t")
    words = len(compile_network(build("layer-l"), config).weight[0])
    assert report["weight_bits"] == words * config.mask_bits


def test_options_reach_the_network():
    dense, sparse = (run("layer-l", "--density", d)["predicted_cycles"] for d in ("0.6", "0.2"))
    assert dense > 2.5 * sparse
    assert run("layer-l", "--seed", "7")["seed"] == 7
    assert run("layer-l", "--act-bits", "4")["act_bits"] == 4
    assert run("layer-l", "--scheme", "binary")["density"] == {"asked": None, "real": 1.0}


def test_comparison_has_both_binaries_and_the_right_direction():
    report = run("layer-l", "--compare", "--array", "tiny")
    assert [each["scheme"] for each in report["schemes"]] == list(SCHEMES)
    ratios = report["ratios"]
    assert ratios["binary"] > ratios["binary-offset"] > 1
    assert ratios["ternary"] >= 1
    assert ratios["int8"] > ratios["binary"]
    bits = {each["scheme"]: each["weight_bits"] for each in report["schemes"]}
    assert bits["ternary"] == bits["binary"] == 2 * bits["signed-binary"]


def test_comparison_names_what_is_refused():
    report = run("fashion", "--compare")
    assert report["ratios"]["int8"] is None
    refused = next(each for each in report["schemes"] if each["scheme"] == "int8")
    assert "weight memory needs" in refused["refused"][0]
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
        (["mobilenet025"], "mobilenet025 (signed-binary) does not fit arty-a7-35t: layer pw1"),
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


def test_performance_is_what_the_results_give():
    results = json.loads(RESULTS.read_text())
    assert RESULTS.read_text() == dumps(results)
    assert PERFORMANCE.read_text() == performance(results), "run python -m benchmarks.run"


@pytest.mark.parametrize("name", ["layer-l", "fashion"])
def test_results_are_the_compilers(name):
    results = json.loads(RESULTS.read_text())
    for options in cases(name):
        entry = result(name, ARRAYS[name], options)
        committed = [
            each
            for each in [*results["runs"], *results["refused"]]
            if (each["network"], each["scheme"]) == (name, options.scheme)
            and each["density"]["asked"] == entry["density"]["asked"]
        ]
        assert len(committed) == 1, "run python -m benchmarks.run"
        assert {key: committed[0][key] for key in entry} == entry, "run python -m benchmarks.run"


def test_what_the_text_says_of_the_results_holds():
    results = Results(json.loads(RESULTS.read_text()))
    for name in ("resnet8", "resnet20", "fashion"):
        sparse, dense = (results.ratio(name, "binary-offset", d) for d in (0.25, 0.45))
        assert sparse is not None
        assert dense is not None
        assert sparse > PAPER_BINARY > dense
    for scheme, bar in BARS.items():
        ratio = results.ratio("resnet20", scheme, 0.35)
        assert ratio is not None
        assert ratio >= bar


def test_every_result_was_simulated():
    for entry in json.loads(RESULTS.read_text())["runs"]:
        assert entry["simulated_cycles"] == entry["predicted_cycles"], entry["network"]
        assert entry["equal_to_golden"]
    assert Path(PERFORMANCE).read_text().count("**DIFFERENT**") == 0
