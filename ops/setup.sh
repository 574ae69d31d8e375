#!/bin/sh
# Makes .venv in the checkout ready: a Python that works, the pinned dependencies, the project itself (editable).
# Does nothing when pyproject.toml, ops/constraints.txt and the place of the checkout are as at the last time.
# With --which it only prints the Python that it would take.
set -eu
cd "$(dirname "$0")/.."

works() {  # a candidate counts only if it runs: shims of version managers stand on the PATH and fail when called
    "$1" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        works "$PYTHON" && echo "$PYTHON" && return
        echo "PYTHON=$PYTHON is not a working Python 3.11 or 3.12 with the venv module." >&2
        return 1
    fi
    for name in python3.12 python3.11 python3 python; do
        oldifs=$IFS; IFS=:
        for folder in $PATH; do
            IFS=$oldifs
            works "$folder/$name" && echo "$folder/$name" && return
        done
        IFS=$oldifs
    done
    for candidate in "$HOME"/.pyenv/versions/3.12*/bin/python "$HOME"/.pyenv/versions/3.11*/bin/python \
        "$HOME"/.local/share/uv/python/cpython-3.1[12]*/bin/python; do
        works "$candidate" && echo "$candidate" && return
    done
    echo "Ratemill needs Python 3.11 or 3.12 with the venv module, and none was found. Install one" \
        "(Debian, Ubuntu: apt install python3.11 python3.11-venv), or name it: make setup PYTHON=/path/to/python3.12" >&2
    return 1
}

if [ "${1:-}" = --which ]; then
    find_python
    exit
fi

want="$(cat pyproject.toml ops/constraints.txt | cksum) $(pwd)"
if [ "$(cat .venv/.ready 2>/dev/null)" = "$want" ] && works .venv/bin/python; then
    exit 0
fi

if ! works .venv/bin/python; then
    python=$(find_python)
    echo "Creating .venv with $python"
    rm -rf .venv
    "$python" -m venv .venv
fi
echo "Installing the dependencies into .venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint ops/constraints.txt --editable '.[dev]'
echo "Compiling the inner loops (once)"
scratch=$(mktemp -d)
.venv/bin/ratemill demo --events 2000 --ledger "$scratch/ledger" > /dev/null
rm -rf "$scratch"
printf '%s' "$want" > .venv/.ready
