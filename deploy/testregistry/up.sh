#!/bin/bash
# Starts a registry of container images on loopback, without TLS, with all it has in one folder (see settings.sh), and puts the test
# images there. Does nothing when it is up.
set -euo pipefail
. "$(dirname "$0")/../images/functions.sh"
. "$(dirname "$0")/settings.sh"
if running && answers; then exit; fi
"$HERE/../testimages/install.sh"
"$HERE/down.sh"
if answers; then fail "port $PORT is taken by somebody else"; fi
mkdir -p "$ROOT/data"
cat >"$ROOT/config.yml" <<C
version: 0.1
storage: {filesystem: {rootdirectory: $ROOT/data}, delete: {enabled: true}}
http: {addr: '127.0.0.1:$PORT'}
log: {level: warn}
C
setsid docker-registry serve "$ROOT/config.yml" >>"$ROOT/log" 2>&1 </dev/null &
echo $! >"$ROOT/pid"
for _ in $(seq 100); do answers && break; sleep .1; done
answers || fail "it does not come up; see $ROOT/log"
"$HERE/../testimages/build.sh" "$ROOT/images"
for image in box box-bare kbase-module; do
  push_image "$ROOT/images:$image" "127.0.0.1:$PORT/packhorse/$image:1"
done
