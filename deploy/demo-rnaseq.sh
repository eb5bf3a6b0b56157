#!/usr/bin/env bash
# User story 2 on this machine: 100 samples of RNA-seq of two conditions through one pipeline, in containers as jobs of a Slurm cluster, to
# one expression matrix and a picture. Reads are simulated at known levels from real genes; the matrix is compared with these. Samples are
# kept below demo. SAMPLES=8 takes fewer.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo-cluster.sh
SAMPLES=${SAMPLES:-100} PAIRS=50000 # each takes one core three seconds
DEMO=$PWD/demo/rnaseq-$SAMPLES

demo_cluster rnaseq "$DEMO"
samples "$DEMO" "$SAMPLES samples are being simulated" python3 apps/rnaseq/simulate.py --samples "$SAMPLES" --pairs $PAIRS
packhorse run apps/rnaseq --over "$DEMO/samples/table.csv" --set genome="$DEMO/samples/genome.fasta" \
  --set annotation="$DEMO/samples/annotation.gtf" --site testcluster --name demo-rnaseq | tee "$DEMO/summary.txt"
matrix=$(said genes_tpm "$DEMO/summary.txt")
cp "$(said picture "$DEMO/summary.txt")" "$DEMO/expression.svg"
cp "$(said page "$DEMO/summary.txt")" "$DEMO/report.html"
page_of_last_run "$DEMO/run.html"
echo
echo "against the levels that reads were simulated at (Spearman's correlation, of genes):"
python3 apps/rnaseq/check.py --matrix "$matrix" --truth "$DEMO/samples/truth_tpm.tsv"
echo "data     $matrix, a line for each gene and a column for each sample"
echo "picture  $DEMO/expression.svg"
echo "report   $DEMO/report.html, the picture and the genes that differ most"
echo "run      $DEMO/run.html: what ran when and where, what it used, and how to run it again"
