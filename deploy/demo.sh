#!/usr/bin/env bash
# User story 4 on this machine: 5000 FBA models of iJO1366, one command, every result on disk.
set -euo pipefail
cd "$(dirname "$0")/.."
export PACKHORSE_HOME="$PWD/demo/home"
unset PACKHORSE_URL
mkdir -p demo
[ -s demo/deletions.csv ] || python3 apps/fba/make_table.py --rows 5000 --output demo/deletions.csv
packhorse run fba --over demo/deletions.csv --name demo
run=$(packhorse ps --limit 1 --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')
packhorse results "$run" --json --output demo/results.jsonl
packhorse usage "$run" --json > demo/usage.json
echo "data     demo/results.jsonl and demo/usage.json, one JSON object per task and one for the run"
