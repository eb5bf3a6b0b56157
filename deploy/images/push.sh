#!/bin/bash
# Builds the image of an example app, unless that was done, and pushes it: push.sh APP REGISTRY/PREFIX. Its name there is
# REGISTRY/PREFIX/APP:VERSION, which is printed with size and digest.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/functions.sh"
APP=${1:?which app?} PREFIX=${2:?to which registry?}
built=$("$HERE/build.sh" "$APP")
read -r name size unit digest image <<<"$built"
push_image "${image#oci:}" "$PREFIX/${name#packhorse/}"
echo "$PREFIX/${name#packhorse/} $size $unit $digest"
