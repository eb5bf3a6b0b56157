# What the test cluster is called and where it lives; sourced by the scripts beside this file.
#   PACKHORSE_TESTCLUSTER         its root folder; not below /tmp, which every node has for itself (default /var/tmp/packhorse-testcluster)
#   PACKHORSE_TESTCLUSTER_PORT    the first of the 20 loopback ports it uses (default 17100)
#   PACKHORSE_TESTCLUSTER_PREFIX  of node names (default n: n1 … n4); two clusters at once need two roots, ports and prefixes
ROOT=${PACKHORSE_TESTCLUSTER:-/var/tmp/packhorse-testcluster}
PORT=${PACKHORSE_TESTCLUSTER_PORT:-17100}
PREFIX=${PACKHORSE_TESTCLUSTER_PREFIX:-n}
NODES=4
NODE_CORES=2
NODE_MEMORY_MB=4000
CTL_PORT=$PORT DBD_PORT=$((PORT + 1)) MYSQL_PORT=$((PORT + 2)) SSH_PORT=$((PORT + 3)) NODE_PORT=$((PORT + 4))
OWNER=${SUDO_USER:-root}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CHECKOUT=$(cd "$HERE/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$ROOT/etc/slurm.conf

fail() { echo "testcluster: $*" >&2; exit 1; }

as_root() { # starts the calling script again with sudo unless we are root
  [ "$(id -u)" = 0 ] || exec sudo --preserve-env=PACKHORSE_TESTCLUSTER,PACKHORSE_TESTCLUSTER_PORT,PACKHORSE_TESTCLUSTER_PREFIX bash "$@"
}

# Every process of the cluster, jobs included, lives in a mount namespace that bears a mark: a tmpfs of this name.
mark() { echo "packhorse:$ROOT:${1:-}"; }

processes_of() { # pids on one host of the cluster, or on all of them
  grep -lsF " - tmpfs $(mark "${1:-}")${1:+ }" /proc/[0-9]*/mountinfo | cut -d/ -f3 || true
}

thaw() { # a suspended job is frozen, and what is frozen does not die
  local state
  for state in $(find /sys/fs/cgroup/freezer/slurm_"$PREFIX"[1-9]* -name freezer.state 2>/dev/null); do echo THAWED >"$state" || true; done
  for state in $(find /sys/fs/cgroup/system.slice/"$PREFIX"[1-9]*_slurmstepd.scope -name cgroup.freeze 2>/dev/null); do echo 0 >"$state" || true; done
}

kill_all_of() { # ends them at once, and waits until they are gone (a zombie has no mounts and does not count)
  local pids
  for _ in $(seq 100); do
    pids=$(processes_of "$@")
    [ -n "$pids" ] || return 0
    kill -9 $pids 2>/dev/null || true
    thaw
    sleep .05
  done
  fail "these processes do not die: $pids"
}
