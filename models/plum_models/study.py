"""What quantization does to networks: `python -m plum_models.study --out FOLDER`.

Of the shipped networks, or of checkpoints that are named: accuracy against adds (the Pareto
picture), density per layer, latent weights, repetition against the size of a chunk. With --ablate
also short trainings that compare the options of the quantizers. Each part gives a plot, a CSV file
where there is a table, and its share of study.json.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from plum_hw.errors import PlumError
from plum_models import study_plots as plots
from plum_models.checkpoint import load_checkpoint
from plum_models.datasets import open_data
from plum_models.errors import ModelError
from plum_models.networks import PlumNet
from plum_models.runtime import keep_freed_memory
from plum_models.shipped import SHIPPED, entries
from plum_models.study_measure import costs, histograms, repetitions
from plum_models.study_train import Size, ablate


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def point(net: PlumNet, top1: float, *, set_name: str, label: str = "") -> dict[str, Any]:
    """One network in the Pareto picture: its accuracy and what it adds for an image."""
    layers = costs(net)
    tricks = [layer.offset_adds for layer in layers if layer.offset_adds is not None]
    return {
        "set": set_name,
        "scheme": net.config.label,
        "label": label,
        "top1": top1,
        "effectual": sum(layer.effectual for layer in layers),
        "weights": sum(layer.weights for layer in layers),
        "adds": sum(layer.adds for layer in layers),
        "offset_adds": sum(tricks) if tricks else None,
    }


def measured(checkpoints: list[Path]) -> list[tuple[str, PlumNet, dict[str, Any]]]:
    """Name, network and measured figures of what is to be studied; by default all that is shipped.

    Figures come from NAME.json beside a checkpoint (`plum_models.publish` writes it).
    """
    every = [SHIPPED / f"{entry['file']}.safetensors" for entry in entries().values()]
    found = []
    for file in checkpoints or every:
        figures = file.with_suffix(".json")
        entry = json.loads(figures.read_text(encoding="utf-8")) if figures.is_file() else {}
        net = load_checkpoint(file).build()
        found.append((net.config.name, net, entry))
    if all(net.config.scheme == "full" for _, net, _ in found):
        raise ModelError("none of the checkpoints is quantized: there is nothing to study")
    return found


def study(
    checkpoints: list[Path],
    out: Path,
    ablation: tuple[Path | None, Size] | None,
    *,
    say: Any = lambda text: None,
) -> dict[str, Any]:
    """Write all plots and tables to `out`; returns what study.json holds."""
    every = measured(checkpoints)
    networks = [item for item in every if item[1].config.scheme != "full"]
    levels = {
        name: {"set": entry["data"], "top1": entry["float_top1"]}
        for name, net, entry in every
        if net.config.scheme == "full" and "float_top1" in entry
    }
    out.mkdir(parents=True, exist_ok=True)
    points = [
        point(net, entry["integer_top1"], set_name=entry["data"], label=name)
        for name, net, entry in networks
        if "integer_top1" in entry
    ]
    curves = {f"{name}: {net.config.label}": repetitions(net) for name, net, _ in networks}
    report: dict[str, Any] = {
        "densities": {name: net.densities() for name, net, _ in networks},
        "layers": {name: [asdict(layer) for layer in costs(net)] for name, net, _ in networks},
        "latent": {name: histograms(net) for name, net, _ in networks},
        "full_precision": levels,
    }
    if ablation is not None:
        data, size = ablation
        dataset = open_data("fashion", data)
        rows, by_scheme = ablate(
            dataset.split(train=True).some(size.train_images),
            dataset.split(train=False).some(size.test_images),
            out / "ablation",
            size,
            say,
        )
        title = f"{dataset.title}, small network, {size}"
        for row in rows:
            if row["option"] == "scheme" and row["value"] != "full":
                net = by_scheme[row["value"]]
                points.append(point(net, row["top1"], set_name=f"{dataset.title}, ablation"))
                curves[f"ablation: {net.config.label}"] = repetitions(net)
        report["ablations"] = {"size": asdict(size), "rows": rows}
        _write_csv(out / "ablations.csv", rows)
        plots.ablations(rows, out / "ablations.png", title)
    report["pareto"] = points
    report["repetition"] = {
        label: [asdict(entry) for entry in entries] for label, entries in curves.items()
    }
    _tables(report, out)
    zeros = {name for name, net, _ in networks if net.density() < 1}
    if zeros:
        plots.density(
            {name: report["densities"][name] for name in sorted(zeros)}, out / "density.png"
        )
    for name, layers in report["latent"].items():
        plots.latent(name, layers, out / f"latent-{name}.png")
    plots.repetition(report["repetition"], out / "repetition.png")
    if points:
        plots.pareto(points, out / "pareto.png", levels)
    (out / "study.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _tables(report: dict[str, Any], out: Path) -> None:
    rows = [
        {"network": name, **layer} for name, layers in report["layers"].items() for layer in layers
    ]
    _write_csv(out / "layers.csv", rows)
    curves = [
        {"network": label, **entry}
        for label, entries in report["repetition"].items()
        for entry in entries
    ]
    _write_csv(out / "repetition.csv", curves)
    if report["pareto"]:
        _write_csv(out / "pareto.csv", report["pareto"])


def main(
    checkpoints: Annotated[
        list[Path] | None, typer.Argument(help="trained networks; without any the shipped ones")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of plots and tables")] = Path("study"),
    ablation: Annotated[
        bool, typer.Option("--ablate", help="also compare options by short trainings (minutes)")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="folder of Fashion-MNIST, to ablate")] = None,
    epochs: Annotated[int, typer.Option(help="of each ablation", min=1)] = Size.epochs,
    images: Annotated[
        int, typer.Option(help="training images of each ablation", min=128)
    ] = Size.train_images,
    seed: Annotated[int, typer.Option(help="of the ablations", min=0)] = Size.seed,
    as_json: Annotated[bool, typer.Option("--json", help="report as JSON on stdout")] = False,
) -> None:
    """Plots and tables of accuracy, density, latent weights and repetition of trained networks."""
    keep_freed_memory()
    size = Size(epochs=epochs, train_images=images, seed=seed)
    try:
        report = study(
            checkpoints or [],
            out,
            (data, size) if ablation else None,
            say=lambda text: print(text, file=sys.stderr),
        )
    except (PlumError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(report))
        return
    for item in report["pareto"]:
        share = item["effectual"] / item["weights"]
        print(
            f"{item['label'] or item['set']}, {item['scheme']}: top-1 {item['top1']:.2f} %, "
            f"{item['adds']:,} adds an image, {share:.3f} of the weights effectual"
        )
    print(f"plots and tables are in {out}")


if __name__ == "__main__":
    typer.run(main)
