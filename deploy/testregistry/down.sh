#!/bin/bash
# Ends the test registry, and removes its folder.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
if running; then
  pid=$(cat "$ROOT/pid")
  kill "$pid"
  for _ in $(seq 100); do running || break; sleep .05; done
  ! running || fail "process $pid does not end"
fi
if [ -e "$ROOT/config.yml" ]; then rm -rf "$ROOT"; fi # never a folder that is not ours
