#!/usr/bin/env bash
# Installs what the tests start beside Python: a C compiler, Node, Chromium (Debian's), and what package-lock.json names.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v chromium >/dev/null || missing+=(chromium)
if ((${#missing[@]})); then
    sudo=""
    [[ $EUID == 0 ]] || sudo=sudo
    $sudo apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
fi

# The copy of the lock says what is installed, so a second run has nothing to do.
if ! cmp --silent package-lock.json node_modules/.installed; then
    npm ci --ignore-scripts
    cp package-lock.json node_modules/.installed
fi
