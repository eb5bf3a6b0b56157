#!/usr/bin/env bash
# User story 1 on this machine: 100 real genomes, assembled in containers as jobs of a Slurm cluster, one table. The image goes from the
# cache to a 'public' registry, from there by digest to the site's private one, and is prepared at the site.
# Cluster and registries are ended afterwards unless they were up before. Samples are kept in demo/assembly.
set -euo pipefail
cd "$(dirname "$0")/.."
SAMPLES=100 PART_BP=100000 # each takes one core two to three seconds
DEMO=$PWD/demo/assembly
PUBLIC=17091 PRIVATE=17092 # ports
CLUSTER=${PACKHORSE_TESTCLUSTER:-/var/tmp/packhorse-testcluster}

registry() { # up or down, its port
  PACKHORSE_TESTREGISTRY=/var/tmp/packhorse-demo-registry-$2 PACKHORSE_TESTREGISTRY_PORT=$2 bash "deploy/testregistry/$1.sh"
}

configuration() { # what Packhorse must know of the cluster and the registries
  cat <<C
[images]
default_registry = "127.0.0.1:$PUBLIC"
insecure = ["127.0.0.1:$PUBLIC", "127.0.0.1:$PRIVATE"]

[sites.testcluster]
scheduler = "slurm"
root = "$DEMO/site"
max_nodes = 4
runtime = "charliecloud"
registry = "127.0.0.1:$PRIVATE/private"
binds = ["$DEMO/samples"]
C
}

down=()
finish() { for command in "${down[@]}"; do $command; done; }
trap finish EXIT

mkdir -p "$DEMO"
[ -e "$CLUSTER/env" ] || down+=("bash deploy/testcluster/down.sh")
bash deploy/testcluster/up.sh >/dev/null
. "$CLUSTER/env"
export PACKHORSE_HOME="$DEMO/home" PACKHORSE_CONFIG="$DEMO/packhorse.toml"
unset PACKHORSE_URL
for port in $PUBLIC $PRIVATE; do
  [ -e "/var/tmp/packhorse-demo-registry-$port" ] || down+=("registry down $port")
  registry up $port
done
deploy/images/push.sh assembly "127.0.0.1:$PUBLIC/packhorse"
configuration >"$DEMO/packhorse.toml"
if [ ! -s "$DEMO/samples/.complete" ]; then
  echo "$SAMPLES samples are being simulated …" >&2
  rm -rf "$DEMO/samples"
  python3 apps/assembly/simulate.py --samples $SAMPLES --part-bp $PART_BP --folder "$DEMO/samples"
  echo $SAMPLES >"$DEMO/samples/.complete"
fi
packhorse run apps/assembly --over "$DEMO/samples/table.csv" --site testcluster --name demo-assembly | tee "$DEMO/summary.txt"
table=$(awk '$1 == "table" {print $2}' "$DEMO/summary.txt")
echo
head -9 "$table" | awk -F, '{printf "%-30s %-9s %8s %8s %9s %11s %16s %13s\n", $1, $2, $3, $4, $5, $6, $7, $8}'
echo "…"
echo "data     $table, a line for each genome"
