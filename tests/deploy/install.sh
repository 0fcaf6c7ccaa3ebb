#!/usr/bin/env bash
# Installs MLServer and Apache Beam in environments of their own, since their packages do not go with TensorFlow's; `make
# test` calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3.11}
for name in mlserver beam; do
    lock=tests/deploy/$name.lock
    place=.engines/$name
    # The copy of the lock says what is installed, so a second run has nothing to do.
    if ! cmp --silent "$lock" "$place/installed.lock"; then
        rm -rf "$place"
        "$python" -m venv "$place"
        "$place/bin/python" -m pip install --quiet --require-hashes --requirement "$lock"
        cp "$lock" "$place/installed.lock"
    fi
done
