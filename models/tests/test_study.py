"""The study: costs and repetition against counts by hand, and every file that it writes."""

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plum_models import study_train
from plum_models.checkpoint import save_checkpoint
from plum_models.data import DataSet, synthetic
from plum_models.errors import ModelError
from plum_models.networks import NetworkConfig, PlumNet
from plum_models.study import measured, study
from plum_models.study_measure import costs, histograms, nonzero_digits, repetition
from plum_models.study_train import BASE, Size, variants

SMALL = {"stem": 4, "widths": (4, 8), "blocks": (1, 1), "strides": (2, 2), "size": 12}


def build(**options: object) -> PlumNet:
    torch.manual_seed(3)
    return PlumNet(NetworkConfig(**{**SMALL, **options})).eval()  # type: ignore[arg-type]


def test_nonzero_digits() -> None:
    """Fewest signed powers of two that give a number, found by trying all of them."""
    powers = [sign * 2**i for i in range(8) for sign in (1, -1)]
    for number in range(-128, 128):
        fewest = next(
            count
            for count in range(9)
            if any(sum(pick) == number for pick in itertools.combinations(powers, count))
        )
        assert nonzero_digits(np.array([number]))[0] == fewest


@pytest.mark.parametrize("scheme", ["offset", "published", "binary", "ternary"])
def test_costs(scheme: str) -> None:
    kind = scheme if scheme in ("binary", "ternary") else "signed_binary"
    net = build(scheme=kind, offset=scheme == "offset")
    found = {layer.name: layer for layer in costs(net)}
    assert set(found) == {"s1b1.conv1", "s1b1.conv2", "s2b1.conv1", "s2b1.conv2"}
    for name, layer in found.items():
        codes = net.unit(name).conv.codes().codes
        pixels = 36 if name.startswith("s1") else 9  # 12x12 at stride 2, and again
        window = codes[0].numel() * pixels
        effectual = int((codes != 0).sum())
        assert layer.pixels == pixels
        assert layer.effectual == effectual
        assert layer.adds == effectual * pixels + (window if scheme == "offset" else 0)
        if scheme == "binary":
            assert layer.offset_adds == int((codes == 1).sum()) * pixels + window
        else:
            assert layer.offset_adds is None


@pytest.mark.parametrize("values", [(0, 1), (-1, 1), (-1, 0, 1)])
@pytest.mark.parametrize("group", [1, 2, 3])
def test_repetition(values: tuple[int, ...], group: int) -> None:
    """Patterns and adds of five filters, one chunk after the other."""
    rng = np.random.default_rng(group)
    codes = rng.choice(values, (5, 4, 2, 2))
    kinds = adds = chunks = 0
    for r, s in itertools.product(range(2), repeat=2):
        for begin in range(0, 4, group):
            seen = set()
            for k in range(5):
                word = [int(w) for w in codes[k, begin : begin + group, r, s]]
                lead = next((w for w in word if w), 0)
                word = [-w for w in word] if lead < 0 else word
                seen.add(tuple(word))
                adds += any(word)
            kinds += len(seen)
            adds += sum(max(sum(map(abs, word)) - 1, 0) for word in seen)
            chunks += 1
    found = repetition(codes, group)
    assert found.patterns == pytest.approx(kinds / chunks)
    assert found.adds == pytest.approx(adds / codes.size)


def test_histograms() -> None:
    net = build(offset=False)
    for name, values in histograms(net).items():
        conv = net.unit(name).conv
        assert sum(values["all"]) == conv.weight.numel()
        assert sum(values["effectual"]) == int((conv.codes().codes != 0).sum())
        middle = len(values["all"]) // 2  # weights about zero are not effectual
        assert values["effectual"][middle] == 0 or values["all"][middle] > 0


def test_variants() -> None:
    """Each differs from the base in its option alone, and equal networks share a training."""
    base = BASE.to_json()
    names: dict[str, NetworkConfig] = {}
    for option, _, config in variants():
        changed = {key for key, value in config.to_json().items() if value != base[key]} - {"name"}
        assert len(changed) <= (2 if option in ("scheme", "ede, no offset") else 1)
        assert names.setdefault(config.name, config) == config
    assert len(names) < len(list(variants()))


def test_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checkpoints and two ablations: tables agree with the report, plots are pictures."""
    for scheme in ("signed_binary", "binary"):
        net = build(scheme=scheme, name=scheme)
        save_checkpoint(tmp_path / f"{scheme}.safetensors", net)
        figures = {"data": "Synthetic", "integer_top1": 50.0}
        (tmp_path / f"{scheme}.json").write_text(json.dumps(figures))
    monkeypatch.setattr(study_train, "BASE", replace(BASE, stem=4, widths=(4, 4)))
    schemes = ({"scheme": "binary"}, {"scheme": "signed_binary", "offset": True})
    options = {"scheme": schemes, "threshold": ({"threshold": 0.05}, {"threshold": 0.2})}
    monkeypatch.setattr(study_train, "OPTIONS", options)
    tiny = DataSet("Tiny", tuple("0123456789"), lambda train: synthetic(256, int(train)))
    monkeypatch.setattr("plum_models.study.open_data", lambda name, path: tiny)
    files = [tmp_path / "signed_binary.safetensors", tmp_path / "binary.safetensors"]
    size = Size(epochs=1, train_images=256, test_images=64)
    lines: list[str] = []
    report = study(files, tmp_path / "out", (None, size), say=lines.append)
    assert len(lines) == 4
    assert json.loads((tmp_path / "out" / "study.json").read_text()) == json.loads(
        json.dumps(report)
    )
    with (tmp_path / "out" / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["set"], row["scheme"]) for row in rows] == [
        ("Synthetic", "signed-binary"),
        ("Synthetic", "binary"),
        ("Tiny, ablation", "binary"),
        ("Tiny, ablation", "signed-binary"),
    ]
    assert rows[0]["offset_adds"] == ""
    assert 0 < int(rows[1]["offset_adds"]) < int(rows[1]["adds"])
    with (tmp_path / "out" / "ablations.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["value"] for row in table] == ["binary", "signed-binary", "0.05", "0.2"]
    assert float(table[2]["density"]) > float(table[3]["density"])
    assert table[1]["top1"] == table[2]["top1"], "the same network"
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == [
        "ablations.png",
        "density.png",
        "latent-binary.png",
        "latent-signed_binary.png",
        "pareto.png",
        "repetition.png",
    ]
    for name in pictures:
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("L").getcolors() or []) > 10, "more than a blank"
    again: list[str] = []
    study(files, tmp_path / "out", (None, size), say=again.append)
    assert again == lines, "finished trainings are not made again"


def test_nothing_to_study(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "full.safetensors", build(scheme="full"))
    with pytest.raises(ModelError, match="none of the checkpoints is quantized"):
        measured([tmp_path / "full.safetensors"])
