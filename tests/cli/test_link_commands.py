"""`plum bench-link`, `plum doctor`, several devices, and the soak in short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import soak
from plum_hw.doctor import examine_latency, examine_permission
from tests.cli.command import Plum


def test_bench_link_tells_link_and_array_apart(plum: Plum, folder: Path) -> None:
    done = plum("bench-link", folder / "net.plum", "--images", 20, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["streamed"]["equal"]
    assert report["replay"]["cycles"] == report["predicted_cycles"]
    assert report["compute"]["images_per_second"] == pytest.approx(
        1e8 / report["predicted_cycles"], rel=0.01
    )
    serial = next(line for line in report["simulated_lines"] if "12 Mbaud" in line["line"])
    assert serial["equal"]
    assert serial["waits_per_image"] == 0
    assert serial["weights_share"] >= 0.9
    text = plum("bench-link", folder / "net.plum", "--images", 5)
    assert "payload" in text.stdout
    assert "array alone" in text.stdout


def test_images_on_several_devices(plum: Plum, folder: Path) -> None:
    arguments = ("run", folder / "net.plum", "--images", folder / "images.npz")
    one = json.loads(plum(*arguments, "--device", "golden", "--json").stdout)
    done = plum(*arguments, "--device", "golden", "--device", "golden", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["equal_to_golden"]
    assert report["top1"] == one["top1"]
    assert sum(share["images"] for share in report["devices"]) == report["images"]
    wrong = plum(*arguments, "--device", "golden", "--device", "/dev/no-such-port")
    assert wrong.returncode == 2
    assert "no such port" in wrong.stderr


def test_doctor_names_what_is_wrong_and_what_to_do(plum: Plum) -> None:
    done = plum("doctor", "--device", "golden", "--json")
    assert done.returncode == 0, done.stdout
    findings = {item["check"]: item for item in json.loads(done.stdout)}
    assert findings["echo golden"]["found"].endswith("none lost")
    assert "digest" in findings["device golden"]["found"]
    for item in findings.values():
        assert item["state"] == "ok" or item["remedy"], item
    wrong = plum("doctor", "--device", "socket://127.0.0.1:1")
    assert wrong.returncode == 1
    assert "connection refused" in " ".join(wrong.stdout.split())


def test_permission_and_latency(tmp_path: Path) -> None:
    assert examine_permission(tmp_path).state == "ok"
    assert examine_permission(tmp_path / "none").state == "bad"
    timer = tmp_path / "latency_timer"
    assert list(examine_latency(timer, "x")) == []
    timer.write_text("16\n")
    (slow,) = examine_latency(timer, "x")
    assert (slow.state, slow.remedy) == ("note", f"echo 1 | sudo tee {timer}")
    timer.write_text("1\n")
    assert [finding.state for finding in examine_latency(timer, "x")] == ["ok"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_bad_line_leaves_most_of_the_throughput(seed: int) -> None:
    found = soak.measure("packets", 4000, seed)
    assert found["faulty"]["faults"] > 100
    assert found["throughput_share"] >= soak.BAR
    assert found["fault_free"]["payload_bytes_per_second"] >= 0.9 * soak.BYTES_PER_SECOND
    images = soak.measure("images", 150, seed)
    assert images["faulty"]["compared"] == 150
    assert images["faulty"]["faults"] > 5


def test_a_wrong_byte_ends_the_soak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a device that changes a byte now and then."""
    read = soak.GoldenDevice._read

    def spoiled(self: soak.GoldenDevice, *place: Any) -> bytes:
        data = read(self, *place)
        return data if len(data) < 1000 else data[:-1] + bytes([data[-1] ^ 1])

    monkeypatch.setattr(soak.GoldenDevice, "_read", spoiled)
    with pytest.raises(AssertionError):
        soak.soak_packets(300, None, 1)
