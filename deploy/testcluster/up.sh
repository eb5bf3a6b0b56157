#!/bin/bash
# Brings up a Slurm cluster of 4 nodes on this machine: munge, MariaDB, slurmdbd, slurmctld, slurmds, and an SSH server, all on
# loopback, all below one folder (see settings.sh). Each node has a host name, /tmp and /dev/shm of its own. Does nothing when it is up.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
as_root "$0" "$@"
case $ROOT/ in /tmp/*) fail "the root must not be below /tmp: each node has a /tmp of its own" ;; esac

usable_nodes() { sinfo -h -N -o '%N %T' 2>/dev/null | awk '$2 ~ /^(idle|mixed|allocated|completing)$/ {print $1}' | sort -u | wc -l; }

await() { # what, then a command that must succeed within 30 s
  local what=$1
  shift
  for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep .1; done
  fail "$what does not come up; see $ROOT/log"
}

service() { "$HERE/service.sh" "$@"; }
nodes_usable() { [ "$(usable_nodes)" = $NODES ]; }

mended() { # whether it is up, if need be after starting what somebody stopped or killed
  [ -e "$ROOT/env" ] && [ -n "$(processes_of munged)$(processes_of slurmctld)" ] || return 1
  local part i
  for part in munged sshd mariadb slurmdbd slurmctld; do service start $part; done
  for i in $(seq $NODES); do service start "$PREFIX$i"; done
  for _ in $(seq 100); do nodes_usable && return; sleep .1; done
  return 1
}

tell() {
  cat <<E
A Slurm cluster of $NODES nodes is up. To use it:
  source $ROOT/env && sinfo
  ssh -i $ROOT/ssh/client_key -p $SSH_PORT -o UserKnownHostsFile=$ROOT/ssh/known_hosts $OWNER@127.0.0.1
Jobs must use folders that all nodes see, such as $ROOT/jobs (not /tmp). To end it: $HERE/down.sh
E
}

"$HERE/install.sh"
if mended; then tell; exit; fi
"$HERE/down.sh"
"$HERE/configure.sh"
service start munged
service start sshd
chown mysql: "$ROOT/mysql"
mariadb-install-db --no-defaults --user=mysql --datadir="$ROOT/mysql" --auth-root-authentication-method=normal --skip-test-db \
  >"$ROOT/log/mariadb-install.log" 2>&1
service start mariadb
sql() { mariadb --no-defaults -uroot -S "$ROOT/mysql/socket" -e "$1"; }
await MariaDB sql 'select 1'
sql "create database slurm_acct; create user slurm@'127.0.0.1' identified by 'slurm'; grant all on slurm_acct.* to slurm@'127.0.0.1'"

service start slurmdbd
await slurmdbd timeout 5 sacctmgr -n list cluster
# what a user may do: 'science' is everybody's account; the QOS below refuse at submission, or let jobs wait
manage() { sacctmgr -i -Q add "$@" >/dev/null; }
manage cluster testcluster
manage account science,other
manage qos small Flags=DenyOnLimit MaxTRESPerJob=node=1
manage qos single MaxJobsPerUser=1
manage qos few Flags=DenyOnLimit MaxSubmitJobsPerUser=2
for user in root nobody "$OWNER"; do manage user "$user" account=science qos=normal,small,single,few || true; done
sacctmgr -i -Q modify user root set defaultaccount=science >/dev/null
service start slurmctld
for i in $(seq $NODES); do service start "$PREFIX$i"; done
await "a node" nodes_usable
tell
