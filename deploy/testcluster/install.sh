#!/bin/bash
# Installs the Debian packages of the test cluster where they are missing, or with 'install.sh sshd' only an SSH server, a client and login
# shells that differ.
# No service of the distribution starts.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
as_root "$0" "$@"
missing=
programs="slurmctld slurmd slurmdbd sbatch munged mariadbd sshd tcsh fish"
packages="slurmctld slurmd slurmdbd slurm-client slurm-wlm-basic-plugins munge mariadb-server openssh-server openssh-client tcsh fish procps libpmix-dev"
if [ "${1:-}" = sshd ]; then programs="sshd tcsh fish" packages="openssh-server openssh-client tcsh fish procps"; fi
for program in $programs; do command -v $program >/dev/null || missing="$missing $program"; done
# srun --mpi=pmix, with which Open MPI starts, looks for a file that only the -dev package has
[ "${1:-}" = sshd ] || ls /usr/lib/*/libpmix.so >/dev/null 2>&1 || missing="$missing libpmix.so"
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || fail "these are missing, and there is no apt-get to install them:$missing"
# both scripts may be started at the same moment: apt-get does not wait for another, and each removes its policy
exec 9>/var/cache/packhorse-packages.lock
flock --wait 600 9 || true
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then # asked before a service starts: 101 says no
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  trap 'rm -f $policy' EXIT
fi
apt-get -qq -o Dpkg::Use-Pty=0 update
apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $packages >/dev/null
