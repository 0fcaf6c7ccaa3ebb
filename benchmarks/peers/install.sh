#!/usr/bin/env bash
# Installs what the benchmarks compare with: PyTorch, Joey NMT and g2p_en into .venv-peers, and Debian's jemalloc.
set -euo pipefail
cd "$(dirname "$0")/../.."

test -x .venv-peers/bin/python || "${PYTHON:-python3}" -m venv .venv-peers
.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
.venv-peers/bin/python -m pip install --quiet --no-deps joeynmt==2.3.0

# Elsewhere than on Debian the comparisons go without it, and say so.
if command -v apt-get >/dev/null && ! compgen -G '/usr/lib/*/libjemalloc.so.2' >/dev/null; then
    sudo=""
    [[ $EUID == 0 ]] || sudo=sudo
    $sudo apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install --yes --quiet --no-install-recommends libjemalloc2
fi
