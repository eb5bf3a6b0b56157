#!/bin/bash
# Installs the Debian packages that build, serve and run the test images, where they are missing. No service of the distribution starts.
#   install.sh            what builds and serves images, Podman and Charliecloud
#   install.sh --docker   the same, and Docker's engine, which is large
set -euo pipefail
fail() { echo "testimages: $*" >&2; exit 1; }
programs="busybox catatonit skopeo umoci podman runc ch-run docker-registry mksquashfs squashfuse"
packages="busybox-static catatonit skopeo umoci podman runc charliecloud-runtime docker-registry squashfs-tools squashfuse uidmap fuse-overlayfs slirp4netns"
[ "${1:-}" != --docker ] || programs="$programs dockerd" packages="$packages docker.io"
missing=
for program in $programs; do PATH=/usr/sbin:/sbin:$PATH command -v "$program" >/dev/null || missing="$missing $program"; done
# the package 'busybox' has the same program, linked to libraries that no image has
[ -z "$(ldd "$(PATH=/usr/sbin:/sbin:$PATH command -v busybox)" 2>/dev/null | grep '=>')" ] || missing="$missing busybox-static"
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || exec sudo bash "$0" "$@"
command -v apt-get >/dev/null || fail "these programs are missing, and there is no apt-get to install them:$missing"
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
