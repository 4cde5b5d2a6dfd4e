#!/usr/bin/env bash
# Parses every shell script; runs shellcheck too where it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t scripts < <(find scripts .ci deploy -type f \( -name '*.sh' -o -path .ci/run \))
for s in "${scripts[@]}"; do bash -n "$s"; done
if command -v shellcheck >/dev/null; then shellcheck "${scripts[@]}"; fi
