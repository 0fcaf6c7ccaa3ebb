#!/usr/bin/env bash
# Installs MLServer in an environment of its own, since its packages do not go with TensorFlow's; `make test` calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3.11}
lock=tests/deploy/mlserver.lock
place=.engines/mlserver
# The copy of the lock says what is installed, so a second run has nothing to do.
if ! cmp --silent "$lock" "$place/installed.lock"; then
    rm -rf "$place"
    "$python" -m venv "$place"
    "$place/bin/python" -m pip install --quiet --require-hashes --requirement "$lock"
    cp "$lock" "$place/installed.lock"
fi
