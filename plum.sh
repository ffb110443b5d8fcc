#!/usr/bin/env bash
# Sets up everything that plum_hw needs, then runs the demo or the tests. See usage below.
#
# Nothing but bash and Python >= 3.11 is assumed. What the system lacks is installed with apt-get
# where that is allowed; otherwise the missing packages are named and nothing is done. Python packages
# go into .venv in the checkout, in the exact versions of requirements.lock.
set -euo pipefail

usage() {
    cat <<'END'
usage: ./plum.sh demo [options of `plum demo`]   classify images on the virtual board
       ./plum.sh test [options of pytest]        style, types and all tests
       ./plum.sh setup                           only what `test` sets up
       ./plum.sh lock                            write requirements.lock anew, newest versions
END
}

say() { printf 'plum: %s\n' "$*" >&2; }
die() {
    say "$@"
    exit 2
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
lock_file=requirements.lock
all_extras=hw,boards,ethernet,explore,sim,train,dev

# --- Python --------------------------------------------------------------------------------------

# Sets `python` (a path) and `version` (such as 3.11).
find_python() {
    local name found=""
    for name in ${PLUM_PYTHON:+"$PLUM_PYTHON"} python3 python3.13 python3.12 python3.11; do
        python=$(command -v -- "$name") || continue
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        found+="${found:+, }$name is $version"
        if "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))'; then
            return
        fi
    done
    die "Python 3.11 or newer is needed (${found:-there is no python3 here}); install one, or name one in PLUM_PYTHON."
}

# Prints one word for each thing that this Python lacks.
python_gaps() {
    "$python" - <<'END'
import ctypes, os, sys, sysconfig

try:
    import ensurepip, venv
except ImportError:
    print("venv")

def loads(name):
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True

get = sysconfig.get_config_var
names = {get("INSTSONAME"), get("LDLIBRARY"), "libpython%d.%d.so.1.0" % sys.version_info[:2]}
shared = [n for n in names if n and (".so" in n or n.endswith(".dylib"))]
if not any(os.path.exists(os.path.join(get("LIBDIR") or "", n)) or loads(n) for n in shared):
    print("libpython")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("headers")
if os.path.realpath(sys.base_prefix) != "/usr":
    print("foreign")
END
}

# --- System packages -----------------------------------------------------------------------------

# Useful packages that could not be had are named once, and then left alone (`without`, kept with
# the environment).
needed=() needed_why=() useful=() useful_why=() without=()
need() { needed+=("$1") needed_why+=("$2"); }
want() {
    if [[ " ${without[*]} " == *" $1 "* ]]; then return; fi
    useful+=("$1") useful_why+=("$2")
}

has_header() { printf '#include <%s>\n' "$1" | c++ -E -x c++ - >/dev/null 2>&1; }

has_picolibc() {
    printf '#include <string.h>\n' | riscv64-unknown-elf-gcc --specs=picolibc.specs -E - >/dev/null 2>&1
}

has_library() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2>/dev/null; }

# Fills the lists for command $1.
find_gaps() {
    local gaps
    gaps=" $(python_gaps | tr '\n' ' ') "
    if [[ $gaps == *" foreign "* ]]; then
        # A Python that did not come from the distribution: its parts cannot be had from there.
        [[ $gaps != *" venv "* ]] || die "$python has no venv or ensurepip module; use a complete Python, or name another in PLUM_PYTHON."
        [[ $gaps != *" libpython "* ]] ||
            die "$python was built without a shared libpython, which the simulator embeds; build it with --enable-shared, or name another Python in PLUM_PYTHON."
    else
        [[ $gaps != *" venv "* ]] || need "python$version-venv" "makes the Python environment of this project"
        if [[ $gaps == *" libpython "* ]]; then
            need "python$version-dev" "holds libpython: the benches run Python inside the simulator"
        elif [[ $gaps == *" headers "* ]]; then
            want "python$version-dev" "lets Python packages compile their fast parts"
        fi
    fi
    { command -v g++ && command -v c++; } >/dev/null || need g++ "compiles the simulated hardware"
    command -v make >/dev/null || need make "drives that compilation"
    command -v perl >/dev/null || need perl "runs Verilator"
    command -v ccache >/dev/null || want ccache "makes the second compilation of the same hardware quick"
    if [[ $1 != demo ]]; then
        command -v riscv64-unknown-elf-gcc >/dev/null ||
            need gcc-riscv64-unknown-elf "compiles the firmware"
        has_picolibc ||
            need picolibc-riscv64-unknown-elf "the firmware's C library"
        command -v iverilog >/dev/null || want iverilog "second simulator; its tests are skipped without"
        has_library libusb-1.0.so.0 || want libusb-1.0-0 "lets plum flash reach boards on USB"
        has_library libftdi1.so.2 || want libftdi1-2 "lets plum flash reach boards on USB"
        has_header zlib.h || want zlib1g-dev "lets the simulator write compressed waveforms"
        has_header lz4.h || want liblz4-dev "lets the simulator write compressed waveforms"
        [[ -d /usr/share/datasets/fashion-mnist ]] ||
            want dataset-fashion-mnist "Fashion-MNIST images; the tests on all 10,000 are skipped without"
    fi
}

list() { # list PACKAGE... -- WHY...
    local -i half=$(($# / 2)) i
    for ((i = 1; i <= half; i++)); do
        printf '        %-24s %s\n' "${!i}" "${@:half+i+1:1}" >&2
    done
}

# Sets the array `as_root` to what runs a command as root, or fails.
find_root() {
    as_root=()
    command -v apt-get >/dev/null || return 1
    [[ $(id -u) != 0 ]] || return 0
    as_root=(sudo -n)
    command -v sudo >/dev/null && sudo -n true 2>/dev/null
}

apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "$@" </dev/null >&2
}

install_system() {
    local package
    find_gaps "$1"
    ((${#needed[@]} + ${#useful[@]})) || return 0
    if ! find_root; then
        if ((${#useful[@]})); then
            say "not installed here, and useful:"
            list "${useful[@]}" -- "${useful_why[@]}"
            without+=("${useful[@]}")
        fi
        ((${#needed[@]})) || return 0
        say "missing here, and this user may not install it:"
        list "${needed[@]}" -- "${needed_why[@]}"
        say "install with:  sudo apt-get install ${needed[*]}${useful[*]+ ${useful[*]}}"
        exit 2
    fi
    say "installing system packages:"
    list "${needed[@]}" "${useful[@]}" -- \
        "${needed_why[@]}" "${useful_why[@]}"
    "${as_root[@]}" apt-get update -q </dev/null >&2 || say "apt-get update failed; trying with the lists as they are"
    if ((${#needed[@]})); then
        apt_install "${needed[@]}" || die "apt-get could not install: ${needed[*]}"
    fi
    for package in "${useful[@]}"; do
        apt_install "$package" && continue
        say "apt-get could not install $package; going on without"
        without+=("$package")
    done
}

# --- Python packages -----------------------------------------------------------------------------

# Sets `venv`. Compilers and make cannot work with spaces in a path, so the environment of such a
# checkout is kept with the caches and .venv is a link to it.
find_venv() {
    venv=$root/.venv
    [[ $root == *[[:space:]]* ]] || return 0
    local caches=${PLUM_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/plum_hw}
    [[ $caches != *[[:space:]]* ]] ||
        die "make cannot work with spaces in a path, and both this checkout and $caches have some; set PLUM_CACHE_DIR to a folder without."
    venv=$caches/venv-$(printf '%s' "$root" | sha256sum | cut -c1-16)
    mkdir -p "$venv"
    [[ ! -d $root/.venv || -L $root/.venv ]] || rm -rf "$root/.venv"
    ln -sfn "$venv" "$root/.venv"
}

install_python() {
    local extras=$1 extra place key had_place="" had_key="" had_extras="" stamp missing=""
    stamp=$venv/plum-installed
    place="$root $("$python" -c 'import sys; print(sys.base_prefix, sys.version.split()[0])')"
    key=$(cd "$root" && cat pyproject.toml "$lock_file" | sha256sum | cut -c1-64)
    if [[ -f $stamp ]]; then
        { read -r had_place && read -r had_key && read -r had_extras; } <"$stamp" || true
    fi
    if [[ $had_place != "$place" ]] || ! "$venv/bin/python" -c '' 2>/dev/null; then
        say "making the Python environment ($("$python" -V))"
        "$python" -m venv --clear "$venv"
        had_key="" had_extras=""
    fi
    for extra in ${extras//,/ }; do
        if [[ ,$had_extras, != *",$extra,"* ]]; then
            missing+=" $extra"
            had_extras+=${had_extras:+,}$extra
        fi
    done
    [[ $had_key != "$key" || -n $missing ]] || return 0

    rm -f "$stamp"
    say "installing Python packages ($had_extras); the first time takes some minutes"
    local -a pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input install -c "$lock_file")
    [[ -t 2 ]] || pip+=(--progress-bar off)
    (
        cd "$root"
        "${pip[@]}" -q setuptools
        "${pip[@]}" --no-build-isolation -e ".[$had_extras]"
    ) </dev/null >&2 || die "pip could not install the Python packages; its message is above."
    printf '%s\n' "$place" "$key" "$had_extras" >"$stamp"
}

# set_up COMMAND EXTRAS: all set-up; a second one in the same checkout waits for the first.
set_up() {
    find_python
    find_venv
    if [[ -f $venv/plum-without ]]; then mapfile -t without <"$venv/plum-without"; fi
    exec 9<"$root"
    if command -v flock >/dev/null; then flock 9; fi
    install_system "$1"
    install_python "$2"
    if ((${#without[@]})); then printf '%s\n' "${without[@]}" >"$venv/plum-without"; fi
    exec 9<&-
    export VIRTUAL_ENV=$venv PATH="$venv/bin:$PATH"
    unset PYTHONHOME
}

# --- Commands ------------------------------------------------------------------------------------

# Style and types are reported but do not keep the tests from running.
run_tests() {
    local failed=()
    cd "$root"
    check() {
        say "$*"
        "$venv/bin/python" -m "$@" || failed+=("$*")
    }
    check ruff check .
    check ruff format --check .
    check mypy
    check pytest -n auto --dist loadfile "$@"
    ((${#failed[@]})) || return 0
    printf 'plum: failed: %s\n' "${failed[@]}" >&2
    return 1
}

# The newest versions that fit pyproject.toml, tried out in an environment of their own.
write_lock() {
    local work
    work=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    find_python
    "$python" -m venv "$work/venv"
    (cd "$root" && "$work/venv/bin/python" -m pip install -q -e ".[$all_extras]")
    {
        echo "# Exact versions of all that the extras of pyproject.toml need, written by ./plum.sh lock."
        echo "# For pip as requirements (-r, everything) or as constraints (-c, with chosen extras)."
        # Local version labels (+cpu) name a build, not a version: an index may offer another build.
        "$work/venv/bin/python" -m pip freeze --all --exclude pip --exclude plum-hw | sed 's/+[A-Za-z0-9.]*$//'
    } >"$work/lock"
    ! grep -iE 'nvidia|cuda|triton' "$work/lock" >&2 ||
        die "pip chose a CUDA build of torch (above); make its CPU build available to pip, then try again."
    cp "$work/lock" "$root/$lock_file"
}

command=${1:-}
shift || true
case $command in
    demo)
        set_up demo hw,sim
        exec "$venv/bin/plum" demo "$@"
        ;;
    test)
        set_up test "$all_extras"
        run_tests "$@"
        ;;
    setup) set_up test "$all_extras" ;;
    lock) write_lock ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
