#!/bin/bash
# Installs the Debian packages of the test cluster where they are missing. No service of the distribution starts.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
as_root "$0" "$@"
missing=
for program in slurmctld slurmd slurmdbd sbatch munged mariadbd sshd; do command -v $program >/dev/null || missing="$missing $program"; done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || fail "these programs are missing, and there is no apt-get to install them:$missing"
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then # asked before a service starts: 101 says no
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  trap 'rm -f $policy' EXIT
fi
apt-get -qq -o Dpkg::Use-Pty=0 update
apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends slurmctld slurmd slurmdbd slurm-client slurm-wlm-basic-plugins \
  munge mariadb-server openssh-server openssh-client procps >/dev/null
