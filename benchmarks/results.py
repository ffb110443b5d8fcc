"""The results of `benchmarks.run` and `benchmarks.energy`, looked up."""

from __future__ import annotations

from typing import Any

#: The array on which schemes are compared, and the paper's density.
ARRAY, DENSITY = "arty-a7-35t", 0.35
OURS = "signed-binary"

Entry = dict[str, Any]
Group = int | str


class Results:
    """The results, looked up. *Members*: ``runs``, ``refused``, ``networks`` in their order."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.runs: list[Entry] = results["runs"]
        self.refused: list[Entry] = results["refused"]
        self.clock: str = results["clock"]
        entries = [*self.runs, *self.refused]
        self.networks = list(dict.fromkeys(entry["network"] for entry in entries))
        self.compared = list(
            dict.fromkeys(entry["network"] for entry in entries if entry["scheme"] != OURS)
        )
        self.arrays = list(dict.fromkeys(entry["array"] for entry in entries))
        self._runs = {
            (e["network"], e["array"], e["scheme"], e["density"]["asked"], e["group"]): e
            for e in self.runs
        }

    def find(
        self,
        network: str,
        scheme: str = OURS,
        density: float = DENSITY,
        *,
        array: str = ARRAY,
        group: Group = "auto",
    ) -> Entry | None:
        """The result of a case, None where it was refused; ``density`` of the sparse schemes."""
        key = (network, array, scheme)
        found = self._runs.get((*key, density, group))
        return found or self._runs.get((*key, None, group))

    def cycles(self, network: str, *, array: str = ARRAY, group: Group = "auto") -> int | None:
        """Cycles of signed binary at the paper's density."""
        entry = self.find(network, array=array, group=group)
        return None if entry is None else int(entry["predicted_cycles"])

    def ratio(self, network: str, scheme: str, density: float, group: Group) -> float | None:
        """Cycles of a scheme over those of signed binary; None where either was refused."""
        other = self.find(network, scheme, density, group=group)
        ours = self.find(network, OURS, density, group=group)
        if other is None or ours is None:
            return None
        return float(other["predicted_cycles"] / ours["predicted_cycles"])


def energy_run(energy: dict[str, Any], scheme: str, group: Group) -> Entry:
    """The run of a scheme with so many filters that share additions."""
    return next(run for run in energy["runs"] if (run["scheme"], run["group"]) == (scheme, group))


def energy_ratio(energy: dict[str, Any], scheme: str, group: Group, *, clock: bool = True) -> float:
    """Energy of a scheme over that of signed binary; ``clock``: with the clock's."""
    runs = [energy_run(energy, each, group) for each in (scheme, OURS)]
    other, ours = (run["total"] - (0 if clock else run["energy"]["clock"]) for run in runs)
    return float(other / ours)
