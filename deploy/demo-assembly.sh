#!/usr/bin/env bash
# User story 1 on this machine: 100 real genomes, assembled in containers as jobs of a Slurm cluster, one table. Samples are kept in
# demo/assembly.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo-cluster.sh
SAMPLES=100 PART_BP=100000 # each takes one core two to three seconds
DEMO=$PWD/demo/assembly

demo_cluster assembly "$DEMO"
samples "$DEMO" "$SAMPLES samples are being simulated" python3 apps/assembly/simulate.py --samples $SAMPLES --part-bp $PART_BP
packhorse run apps/assembly --over "$DEMO/samples/table.csv" --site testcluster --name demo-assembly | tee "$DEMO/summary.txt"
table=$(said table "$DEMO/summary.txt")
echo
head -9 "$table" | awk -F, '{printf "%-30s %-9s %8s %8s %9s %11s %16s %13s\n", $1, $2, $3, $4, $5, $6, $7, $8}'
echo "…"
echo "data     $table, a line for each genome"
