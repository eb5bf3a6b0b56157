#!/bin/bash
# Ends everything that belongs to the test cluster, jobs and stray slurmstepds included, and removes its folder and cgroups.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
as_root "$0" "$@"
kill_all_of
for i in $(seq $NODES); do
  for folder in /sys/fs/cgroup/*/slurm_"$PREFIX$i" /sys/fs/cgroup/*/system.slice/"${PREFIX}${i}"_slurmstepd.scope; do
    [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
done
if [ -e "$ROOT/etc/slurm.conf" ]; then rm -rf "$ROOT"; fi # never a folder that is not ours
