# What the test registry is called and where it lives; sourced by the scripts beside this file.
#   PACKHORSE_TESTREGISTRY       its root folder (default /var/tmp/packhorse-testregistry)
#   PACKHORSE_TESTREGISTRY_PORT  its port on loopback (default 17090); two registries at once need two roots and ports
ROOT=${PACKHORSE_TESTREGISTRY:-/var/tmp/packhorse-testregistry}
PORT=${PACKHORSE_TESTREGISTRY_PORT:-17090}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "testregistry: $*" >&2; exit 1; }

running() { # whether our own process is; a pid that went to another program since is not ours
  local pid
  pid=$(cat "$ROOT/pid" 2>/dev/null) && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$ROOT/config.yml"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }
