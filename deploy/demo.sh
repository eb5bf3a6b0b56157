#!/usr/bin/env bash
# User story 4 on this machine: 5000 FBA models of iJO1366, one command, every result on disk.
set -euo pipefail
cd "$(dirname "$0")/.."
export PACKHORSE_HOME="$PWD/demo/home"
mkdir -p demo
[ -s demo/deletions.csv ] || python3 apps/fba/make_table.py --rows 5000 --output demo/deletions.csv
packhorse run fba --over demo/deletions.csv --name demo
