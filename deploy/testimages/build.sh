#!/bin/bash
# Builds the test images from Debian packages into an OCI layout: build.sh FOLDER. Does nothing when they are there already.
#   box       busybox with an ENTRYPOINT, CMD, ENV, WORKDIR and a USER, all of which a runner must treat as it should
#   box-bare  the same files with an empty configuration
#   kbase-module  a module of the shape of KBase's SDK (module/)
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/../images/functions.sh"
LAYOUT=${1:?where to?}
[ ! -e "$LAYOUT/.complete" ] || exit 0
"$HERE/install.sh"
PATH=$PATH:/usr/sbin:/sbin
busybox=$(command -v busybox)
case $LAYOUT in *:*) fail "':' in $LAYOUT would be taken for the separator of a tag" ;; esac
rm -rf "$LAYOUT" "$LAYOUT.files"
files=$LAYOUT.files
mkdir -p "$files"/{bin,dev,etc,home,mnt,proc,root,run,sys,tmp,usr/bin,var/tmp,app}
chmod 1777 "$files/tmp" "$files/var/tmp"
cp "$busybox" "$files/bin/busybox"
for applet in sh cat chmod cut dd echo env false grep head id ip kill ls mkdir nc printf ps pwd rm setsid sleep sort stat tail test touch tr true uname wc; do
  ln -s busybox "$files/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nscience:x:1234:1234::/home:/bin/sh\n' >"$files/etc/passwd"
printf 'root:x:0:\nscience:x:1234:\n' >"$files/etc/group"
touch "$files/etc/hosts" "$files/etc/resolv.conf"
printf '#!/bin/sh\necho "entrypoint ran"\nexec "$@"\n' >"$files/bin/entry"
chmod 755 "$files/bin/entry"

umoci init --layout "$LAYOUT"
umoci new --image "$LAYOUT:box-bare"
umoci insert --image "$LAYOUT:box-bare" "$files" /
umoci config --image "$LAYOUT:box-bare" --tag box --config.entrypoint /bin/entry --config.cmd echo --config.cmd "the default command" \
  --config.env PATH=/bin:/usr/bin --config.env FROM_IMAGE=yes --config.env BOTH=image --config.workingdir /app --config.user 1234:1234
for applet in sed wget; do ln -s busybox "$files/bin/$applet"; done
mkdir -p "$files/data" "$files/kb/module/work"
cp -r "$HERE/module/." "$files/kb/module/"
umoci new --image "$LAYOUT:kbase-module"
umoci insert --image "$LAYOUT:kbase-module" "$files" /
umoci config --image "$LAYOUT:kbase-module" --config.entrypoint ./scripts/entrypoint.sh --config.env PATH=/bin --config.workingdir /kb/module
umoci gc --layout "$LAYOUT"
rm -rf "$files"
chmod -R a+rX "$LAYOUT" # tests run as other users too
touch "$LAYOUT/.complete"
