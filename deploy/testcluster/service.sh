#!/bin/bash
# Starts, stops or kills one part of a test cluster, so that tests can break it and mend it.
#   service.sh start|stop|kill munged|mariadb|slurmdbd|slurmctld|sshd|n1|n2|...
# 'stop' is polite, and leaves the jobs of a node running; 'kill' is a power cut: every process of that part, jobs included.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
as_root "$0" "$@"
verb=${1:-} name=${2:-}

run() { # the command in the foreground of a session of its own, in namespaces that bear our mark
  host=ctl private=:
  case $name in
    sshd) host=login ;;
    "$PREFIX"[1-9]*)
      host=$name private="mount --bind '$ROOT/tmp/$name' /tmp; mount -t tmpfs -o mode=1777 shm /dev/shm"
      case $CHECKOUT in /tmp/*) # programs of a checkout below /tmp are there on every node, as if installed
        mkdir -p "$ROOT/run/checkout"
        private="mount --bind '$CHECKOUT' '$ROOT/run/checkout'; $private; mkdir -p '$CHECKOUT'; mount --bind '$ROOT/run/checkout' '$CHECKOUT'" ;;
      esac
      mkdir -p "$ROOT/tmp/$name" "$ROOT/spool/$name"
      chmod 1777 "$ROOT/tmp/$name" ;;
  esac
  # a clean environment, as at boot: it is what a job sees that brings none of its own
  setsid env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SLURM_CONF="$SLURM_CONF" unshare --mount --uts --propagation private bash -ec "
    hostname $host; mount -t tmpfs -o size=4k '$(mark "$name")' '$ROOT/run/mark'; mount --bind '$ROOT/etc/hosts.$host' /etc/hosts; $private
    cd /; exec \"\$@\"" "$name" "$@" >>"$ROOT/log/$name.out" 2>&1 </dev/null &
  echo $! >"$ROOT/run/$name.pid"
}

start() {
  case $name in
    munged)
      run munged --foreground --force --key-file="$ROOT/munge/key" --socket="$ROOT/munge/socket" --pid-file="$ROOT/munge/pid" \
        --log-file="$ROOT/munge/log" --seed-file="$ROOT/munge/seed" --num-threads=4 ;;
    mariadb)
      run mariadbd --no-defaults --user=mysql --datadir="$ROOT/mysql" --socket="$ROOT/mysql/socket" --port="$MYSQL_PORT" \
        --bind-address=127.0.0.1 --pid-file="$ROOT/mysql/pid" --innodb-buffer-pool-size=64M --innodb-log-file-size=16M \
        --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 --skip-name-resolve ;;
    slurmdbd | slurmctld) run "$name" -D ;;
    sshd) mkdir -p /run/sshd && run "$(command -v sshd)" -D -e -f "$ROOT/ssh/sshd_config" ;;
    *) run slurmd -D -N "$name" ;;
  esac
}

running() { # whether the daemon itself is, and is ours
  pid=$(cat "$ROOT/run/$name.pid" 2>/dev/null) && grep -qsF " - tmpfs $(mark "$name") " "/proc/$pid/mountinfo"
}

case $name in
  munged | mariadb | slurmdbd | slurmctld | sshd) ;;
  "$PREFIX"[1-9]*) [ "${name#"$PREFIX"}" -le $NODES ] || fail "there are $NODES nodes" ;;
  *) fail "no such part: '$name'" ;;
esac
case $verb in
  start) running || start ;;
  stop)
    running || exit 0
    kill "$pid"
    for _ in $(seq 200); do running || exit 0; sleep .05; done
    fail "$name does not stop" ;;
  kill) kill_all_of "$name" ;;
  *) fail "start, stop or kill?" ;;
esac
