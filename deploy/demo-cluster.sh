# What the demos on a cluster share; sourced by them: demo_cluster APP FOLDER. A Slurm cluster on this machine and two registries; the app's
# image goes from the cache to a 'public' registry, from there by digest to the site's private one, and is prepared at the site. Cluster and
# registries are ended afterwards unless they were up before. FOLDER, where a demo keeps all it makes, is seen by the nodes.
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
root = "$1/site"
max_nodes = 4
runtime = "charliecloud"
registry = "127.0.0.1:$PRIVATE/private"
binds = ["$1/samples"]
C
}

down=()
finish() { for command in "${down[@]}"; do $command; done; }

demo_cluster() {
  local app=$1 folder=$2 port
  trap finish EXIT
  mkdir -p "$folder"
  [ -e "$CLUSTER/env" ] || down+=("bash deploy/testcluster/down.sh")
  bash deploy/testcluster/up.sh >/dev/null
  . "$CLUSTER/env"
  export PACKHORSE_HOME="$folder/home" PACKHORSE_CONFIG="$folder/packhorse.toml"
  unset PACKHORSE_URL
  for port in $PUBLIC $PRIVATE; do
    [ -e "/var/tmp/packhorse-demo-registry-$port" ] || down+=("registry down $port")
    registry up $port
  done
  deploy/images/push.sh "$app" "127.0.0.1:$PUBLIC/packhorse"
  configuration "$folder" >"$folder/packhorse.toml"
}

samples() { # makes the folder 'samples' once: samples FOLDER WHAT COMMAND …
  local folder=$1 what=$2
  shift 2
  [ ! -s "$folder/samples/.complete" ] || return 0
  echo "$what …" >&2
  rm -rf "$folder/samples"
  "$@" --folder "$folder/samples"
  echo "$what" >"$folder/samples/.complete"
}

said() { awk -v name="$1" '$1 == name {print $2}' "$2"; } # what a summary says after a name

page_of_last_run() { # writes it to a file: what ran when and where, what it used, and how to run it again
  local run
  run=$(packhorse ps --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')
  packhorse report "$run" --output "$1" >/dev/null
}
