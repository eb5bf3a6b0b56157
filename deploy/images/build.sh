#!/bin/bash
# Builds the image of an example app from Debian and PyPI packages: build.sh APP [LAYOUT]. Prints its name, size, digest and where it is:
# in an OCI layout of the cache, and with LAYOUT also there, as tag APP-VERSION. The recipe is apps/APP/image:
#   debian.txt  packages of Debian, which come with what they depend on
#   pypi.txt    requirements for Debian's Python, in versions as constraints.txt has them
#   config      options of umoci-config(1), one a line
# The same packages give the same digest. It is built again when the recipe or Debian's lists have changed; what was built is kept below
# $PACKHORSE_IMAGE_CACHE (default /var/tmp/packhorse-images) until it has not been asked for in a month.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/functions.sh"
APP=${1:?which app?} LAYOUT=${2:-}
REPOSITORY=$(cd "$HERE/../.." && pwd)
RECIPE=$REPOSITORY/apps/$APP/image
CACHE=${PACKHORSE_IMAGE_CACHE:-/var/tmp/packhorse-images}
CREATED=${SOURCE_DATE_EPOCH:-0} # seconds since the epoch, of every file
#: Every image has a shell, and env.
BASE="dash coreutils"
#: Needed by the scripts that Debian's packages run when they are installed, and these do not run here. A recipe that names one gets it.
WITHOUT="debconf debianutils dpkg install-info perl-base readline-common tar ucf"
[ -d "$RECIPE" ] || fail "there is no recipe $RECIPE; there are: $(cd "$REPOSITORY/apps" && echo */image)"
case $CACHE$LAYOUT in *:*) fail "':' in a path would be taken for the separator of a tag" ;; esac
VERSION=$(sed -n 's/^version: *"\{0,1\}\([^" ]*\).*/\1/p' "$REPOSITORY/apps/$APP/app.yaml")

key() { # of all that an image is made from
  local pins=
  [ ! -e "$RECIPE/pypi.txt" ] || pins=$REPOSITORY/constraints.txt
  cat "$HERE/build.sh" "$RECIPE"/* ${pins:+"$pins"} <(echo "$VERSION $CREATED") /var/lib/apt/lists/*InRelease | sha256sum | cut -c1-16
}

resolve() { # what packages come to, by apt as if nothing were installed: where its archives are, then an option, then packages
  mkdir -p "$1/partial"
  apt-get -qq -y -o Dpkg::Use-Pty=0 -o Dir::State::status=/dev/null -o Dir::Cache::archives="$1" -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
    install --no-install-recommends "${@:2}"
}

unpack_debian() { # packages and what they depend on, into a root file system whose /bin and the like are links
  local files=$1 folder package
  shift
  mkdir -p "$files"/{dev,etc,home,mnt,opt,proc,root,run,srv,sys,tmp,usr/{bin,sbin,lib,lib64,local/lib},var/tmp}
  for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$files/$folder"; done
  resolve "$files.archives" --print-uris "$@" | cut -d' ' -f2 | sort >"$files.packages" # it leaves out what it has
  resolve "$CACHE/debian" --download-only "$@" >/dev/null
  while read -r package; do
    case " $WITHOUT " in *" ${package%%_*} "*) listed "$RECIPE/debian.txt" | grep -x "${package%%_*}" >/dev/null || continue ;; esac
    dpkg-deb --fsys-tarfile "$CACHE/debian/$package" | tar -x -C "$files" --no-same-owner --keep-directory-symlink \
      --exclude='./usr/share/man' --exclude='./usr/share/info' --exclude='./usr/share/locale' --exclude='./usr/share/lintian'
  done <"$files.packages"
  find "$files/usr/share/doc" -type f ! -name copyright -delete
  find "$files/usr/share" -type l ! -exec test -e {} \; -delete
}

install_pypi() { # requirements, into where the image's own Python looks for them
  local files=$1 place
  local say='import sys, sysconfig; print("%d.%d %s" % (*sys.version_info[:2], sysconfig.get_platform()))'
  [ "$(/usr/bin/python3 -c "$say")" = "$(chroot "$files" python3 -c "$say")" ] || fail "/usr/bin/python3 must be that of the image"
  place=$files/usr/local/lib/$(basename "$(readlink "$files/usr/bin/python3")")/dist-packages
  /usr/bin/python3 -m venv "$files.venv"
  listed "$RECIPE/pypi.txt" >"$files.requirements"
  "$files.venv/bin/pip" install -qq --disable-pip-version-check --no-compile --only-binary=:all: --target "$place" \
    -c "$REPOSITORY/constraints.txt" -r "$files.requirements"
  rm -rf "$place/bin" "$place"/*.dist-info/RECORD # which names the interpreter of the folder that was built in
  find "$place" -type d -name tests -prune -exec rm -rf {} +
}

finish() { # what else a root file system needs, without anything that depends on when it was made
  local files=$1
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$files/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$files/etc/group"
  touch "$files/etc/hosts" "$files/etc/resolv.conf"
  [ -e "$files/bin/sh" ] || ln -s dash "$files/bin/sh"
  /sbin/ldconfig -r "$files"
  rm -rf "$files"/var/cache/ldconfig
  if [ -e "$files/usr/bin/python3" ]; then # a root that is read-only cannot keep what is compiled on import
    PYTHONHASHSEED=0 chroot "$files" python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib /usr/local/lib
  fi
  chmod 1777 "$files/tmp" "$files/var/tmp"
}

pack() { # a root file system, as the one layer of an image in an OCI layout
  local files=$1 image=$2 options
  mapfile -t options < <(listed "$RECIPE/config")
  tar -c -C "$files" --sort=name --format=gnu --numeric-owner --owner=0 --group=0 --mode=a+rX,ug-s --mtime="@$CREATED" -f "$files.tar" .
  created=$(date -u -d "@$CREATED" +%Y-%m-%dT%H:%M:%SZ)
  umoci init --layout "${image%:*}"
  umoci new --image "$image"
  umoci raw add-layer --image "$image" --history.created "$created" --history.created_by "apps/$APP/image" "$files.tar"
  umoci config --image "$image" --no-history --created "$created" "${options[@]}"
  umoci gc --layout "${image%:*}"
}

build() {
  local growing=$PLACE.partial files=$PLACE.partial/files
  trap 'rm -rf "$PLACE.partial"' EXIT
  rm -rf "$growing"
  mkdir -p "$files"
  # shellcheck disable=SC2046  # names of packages are words
  unpack_debian "$files" $BASE $(listed "$RECIPE/debian.txt")
  [ ! -e "$RECIPE/pypi.txt" ] || install_pypi "$files"
  finish "$files"
  pack "$files" "$growing/layout:$VERSION"
  rm -rf "$files" "$files".*
  chmod -R a+rX "$growing/layout" # for all users
  mv -T "$growing/layout" "$PLACE"
}

lists() { ls /var/lib/apt/lists/*InRelease >/dev/null 2>&1; }

if [ "$(id -u)" != 0 ]; then # files get root's uid in a namespace
  "$HERE/../testimages/install.sh"
  lists || sudo apt-get -qq update
  exec unshare --map-root-user "$0" "$@"
fi
mkdir -p "$CACHE/$APP"
exec 9>"$CACHE/.lock"
flock 9
lists || apt-get -qq update
PLACE=$CACHE/$APP/$(key)
if [ ! -e "$PLACE" ]; then
  "$HERE/../testimages/install.sh"
  echo "The image of $APP is being built …" >&2
  build
fi
touch "$PLACE"
find "$CACHE/$APP" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} + # not used for a month
image=oci:$PLACE:$VERSION
if [ -n "$LAYOUT" ]; then
  image=oci:$LAYOUT:$APP-$VERSION
  skopeo --insecure-policy copy --quiet "oci:$PLACE:$VERSION" "$image"
fi
size=$(du -sm --apparent-size "$PLACE" | cut -f1)
echo "packhorse/$APP:$VERSION $size MB $(skopeo inspect --format '{{.Digest}}' "oci:$PLACE:$VERSION") $image"
