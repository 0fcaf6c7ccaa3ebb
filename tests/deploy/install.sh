#!/usr/bin/env bash
# Installs MLServer in an environment of its own, since its packages do not go with TensorFlow's; `make test` calls it.
set -euo pipefail
cd "$(dirname "$0")"

python=${PYTHON:-python3.11}
# The copy of the lock says what is installed, so a second run has nothing to do.
if ! cmp --silent mlserver.lock .mlserver/installed.lock; then
    rm -rf .mlserver
    "$python" -m venv .mlserver
    .mlserver/bin/python -m pip install --quiet --require-hashes --requirement mlserver.lock
    cp mlserver.lock .mlserver/installed.lock
fi
