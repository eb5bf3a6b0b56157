#!/usr/bin/env bash
# User story 3 on this machine: 2000 contigs of real genomes against 20,000 real proteins with DIAMOND and with BLAST+, in containers as jobs
# of a Slurm cluster; what chunks find is compared, byte by byte, with what one run over all contigs finds. All is kept below demo.
# CONTIGS=200 takes fewer.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo-cluster.sh
CONTIGS=${CONTIGS:-2000}
declare -A CHUNK_S=([diamond]=1 [blast]=30) # DIAMOND has done in seconds what takes BLAST+ minutes
DEMO=$PWD/demo/similarity-$CONTIGS

alone() { # one run over all contigs, with a database of its own, by programs of this machine
  local steps=$PWD/apps/similarity
  mkdir -p "$DEMO/alone-$1"
  (cd "$DEMO/alone-$1"
    python3 "$steps/database/database.py" --proteins "$DEMO/samples/proteins.fasta" --tool "$1" >/dev/null 2>&1
    python3 "$steps/search/search.py" --queries "$DEMO/samples/contigs.fasta" --database database --tool "$1" >/dev/null)
}

demo_cluster similarity "$DEMO"
samples "$DEMO" "$CONTIGS contigs are being cut" python3 apps/similarity/contigs.py --contigs "$CONTIGS"
for tool in diamond blast; do
  packhorse run apps/similarity --set queries="$DEMO/samples/contigs.fasta" --set proteins="$DEMO/samples/proteins.fasta" \
    --set tool=$tool --set chunk_s="${CHUNK_S[$tool]}" --site testcluster --name "demo-similarity-$tool" | tee "$DEMO/$tool.txt"
  hits=$(said hits "$DEMO/$tool.txt")
  page_of_last_run "$DEMO/$tool.html"
  echo "one run over all contigs, to compare …" >&2
  alone $tool
  if cmp "$hits" "$DEMO/alone-$tool/hits.tsv"; then
    echo "same     $(wc -l <"$hits") hits by $tool, in chunks and in one run: not a byte differs"
  else
    echo "differ   $(diff "$hits" "$DEMO/alone-$tool/hits.tsv" | grep -c '^[<>]') lines"
    exit 1
  fi
  echo "data     $hits"
  echo "run      $DEMO/$tool.html: what ran when and where, what it used, and how to run it again"
  echo
done
