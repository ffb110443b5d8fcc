"""Who may import whom.

The packages are kept apart so that a host needs neither Amaranth nor torch, a network can be
compiled without either, and the golden model cannot lean on the gateware that it is to check. The
rules are read off the sources, so they hold for new files as well; then real imports in fresh
interpreters confirm what matters most, whatever way a module was reached.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"plum_hw": ROOT, "plum_host": ROOT / "host", "plum_models": ROOT / "models"}

# The only parts of plum_hw that are about hardware descriptions, and so may load Amaranth.
HARDWARE = ("plum_hw.gateware", "plum_hw.boards", "plum_hw.build")


@dataclass(frozen=True)
class Import:
    """One imported name: `module` imports `target`, at import time unless `deferred`."""

    module: str
    target: str
    line: int
    deferred: bool


def under(name: str, *packages: str) -> bool:
    """Whether a module is one of the packages or lies inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def sources(package: str, folder: Path | None = None) -> dict[str, Path]:
    """Modules of a package by name, its tests left out."""
    folder = FOLDERS[package] if folder is None else folder
    found = {}
    for path in sorted((folder / package).rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if "tests" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def imports(module: str, path: Path) -> Iterator[Import]:
    """All imports of a source file. Those for type checkers only are not imports."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = node.module or ""
        if node.level:
            parents = package.split(".")
            parents = parents[: len(parents) - node.level + 1]
            base = ".".join([*parents, *([base] if base else [])])
        # `from a import b` may mean the module a.b; the rules are the same either way.
        yield from (base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names)

    def walk(node: ast.AST, deferred: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for target in targets(node):
                yield Import(module, target, node.lineno, deferred)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            for statement in node.orelse:
                yield from walk(statement, deferred)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, deferred or inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8"), str(path)), False)


def violations(modules: dict[str, Path]) -> list[str]:
    """Each broken rule of the given modules, as a line."""
    found = []
    for name, path in modules.items():
        for item in imports(name, path):
            rule = broken_rule(item)
            if rule:
                found.append(f"{name}, line {item.line}: imports {item.target}, but {rule}")
    return found


def broken_rule(item: Import) -> str | None:
    target, at_import = item.target, not item.deferred
    if under(item.module, "plum_host"):
        if under(target, "amaranth", "amaranth_boards", "torch", "plum_hw", "plum_models"):
            return "plum_host runs where none of these is installed"
        return None
    if under(item.module, "plum_models"):
        if under(target, "amaranth", "plum_hw.gateware", "plum_hw.boards"):
            return "training knows no hardware"
        return None

    if under(target, "torch", "plum_models"):
        return "only plum_models uses torch"
    if under(item.module, "plum_hw.gateware"):
        if under(target, "plum_hw") and not under(target, *GATEWARE_MAY_USE):
            return f"gateware uses only {', '.join(GATEWARE_MAY_USE)} of plum_hw"
        if under(target, "plum_host"):
            return "gateware takes the protocol from plum_hw.layouts"
        return None
    if under(item.module, "plum_hw.golden") and under(target, "plum_hw.gateware", "amaranth"):
        return "the golden model must not lean on what it checks"
    if not under(item.module, *HARDWARE):
        # Parts of boards and build are plain descriptions; the probe below sees what they load.
        if at_import and under(target, "amaranth", "amaranth_boards", "plum_hw.gateware"):
            return f"only {', '.join(HARDWARE)} load Amaranth on import"
        if at_import and under(target, "plum_host.transports", "serial"):
            return "transports are loaded when one is opened"
    return None


GATEWARE_MAY_USE = (
    "plum_hw.gateware",
    "plum_hw.config",
    "plum_hw.layouts",
    "plum_hw.timing",
    "plum_hw.registers",
    "plum_hw.controller",
    "plum_hw.network",
    "plum_hw.errors",
)


# --- the sources


@pytest.mark.parametrize("package", FOLDERS)
def test_sources_keep_the_rules(package: str) -> None:
    modules = sources(package)
    assert package in modules, "nothing was checked"
    assert violations(modules) == []


# --- the check itself


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("plum_host.session", "import torch"),
        ("plum_host.session", "def f():\n    from amaranth.hdl import Module"),
        ("plum_host.session", "import plum_hw.config as c"),
        (
            "plum_host.session",
            "try:\n    import plum_hw\nexcept ImportError:\n    pass",
        ),
        ("plum_models.export", "from plum_hw.gateware import lane"),
        ("plum_hw.ir.importers", "def f():\n    import torch.nn"),
        ("plum_hw.compiler.place", "from amaranth.lib import data"),
        ("plum_hw.compiler.place", "class A:\n    import amaranth"),
        ("plum_hw.cli", "from . import gateware"),
        ("plum_hw.cli", "from plum_hw.gateware.top import Accelerator"),
        ("plum_hw.cli", "from plum_host.transports import open_transport"),
        ("plum_hw.cli", "if not TYPE_CHECKING:\n    import amaranth"),
        ("plum_hw.golden.machine", "def f():\n    from ..gateware import lane"),
        ("plum_hw.golden.machine", "def f():\n    from plum_hw import gateware"),
        ("plum_hw.gateware.lane", "from plum_hw.compiler import place"),
        ("plum_hw.gateware.lane", "from ..ir import layers"),
        ("plum_hw.gateware.lane", "from plum_host import protocol"),
    ],
)
def test_planted_violation_is_found(module: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(text + "\n")
    assert len(violations({module: path})) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("plum_host.session", "import numpy, serial\nfrom . import protocol"),
        ("plum_host.session", "if TYPE_CHECKING:\n    import torch"),
        ("plum_models.export", "import torch\nfrom plum_hw.ir import Network"),
        ("plum_hw.cli", "def f():\n    from plum_hw.gateware import top"),
        ("plum_hw.build", "from amaranth.back import verilog\nfrom plum_hw.boards import arty"),
        ("plum_hw.gateware.lane", "import amaranth\nfrom plum_hw.config import ArrayConfig"),
        ("plum_hw.gateware.lane", "from ..layouts import WORD_BITS\nfrom .memory import Memory"),
        ("plum_hw.gateware_notes", "from plum_hw import amaranthine"),
    ],
)
def test_what_is_allowed_passes(module: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(text + "\n")
    assert violations({module: path}) == []


def test_relative_imports_in_a_package_are_resolved(tmp_path: Path) -> None:
    folder = tmp_path / "plum_hw" / "golden"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from .machine import run\nfrom ..gateware import lane\n")
    (folder / "machine.py").write_text("from . import reference\n")
    modules = sources("plum_hw", tmp_path)
    assert [i.target for n, p in modules.items() for i in imports(n, p)] == [
        "plum_hw.golden.machine.run",
        "plum_hw.gateware.lane",
        "plum_hw.golden.reference",
    ]
    assert len(violations(modules)) == 1


# --- real imports

# Prints which of the unwanted packages (first argument) got loaded by importing the rest.
PROBE = """
import importlib, sys
unwanted = sys.argv[1].split(",")
for name in sys.argv[2:]:
    importlib.import_module(name)
print(*(name for name in unwanted if name in sys.modules))
"""


def loaded(modules: list[str], unwanted: list[str], folder: Path = ROOT) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(unwanted), *modules],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def importable(package: str) -> list[str]:
    """Modules of a package, without those that run something when they are imported."""
    return [name for name in sources(package) if not name.endswith("__main__")]


def test_importing_the_host_loads_nothing_else_of_ours() -> None:
    assert loaded(importable("plum_host"), ["amaranth", "torch", "plum_hw", "plum_models"]) == []


def test_importing_the_compiler_side_loads_neither_amaranth_nor_torch() -> None:
    modules = [name for name in importable("plum_hw") if not under(name, *HARDWARE)]
    assert loaded(modules, ["amaranth", "torch", "plum_hw.gateware"]) == []


def test_importing_golden_does_not_load_the_gateware() -> None:
    modules = [name for name in importable("plum_hw") if under(name, "plum_hw.golden")]
    assert modules
    assert loaded(modules, ["plum_hw.gateware", "amaranth"]) == []


def test_probe_sees_what_was_loaded(tmp_path: Path) -> None:
    (tmp_path / "unwanted.py").write_text("")
    (tmp_path / "sly.py").write_text("import importlib\nimportlib.import_module('unwan' + 'ted')\n")
    assert loaded(["sly"], ["unwanted", "torch"], tmp_path) == ["unwanted"]
