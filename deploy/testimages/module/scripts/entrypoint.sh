#!/bin/sh
# As the SDK makes it: deploy.cfg in the module's own folder, the token in the environment, then what is asked for.
set -eu
cd /kb/module
sed -n 's/^scratch *= */scratch = /p' work/config.properties >deploy.cfg
if [ -f work/token ]; then
  KB_AUTH_TOKEN=$(cat work/token)
  export KB_AUTH_TOKEN
fi
case ${1:-} in
  async) exec ./scripts/run_async.sh ;;
  *) echo "'${1:-}' is not known" >&2; exit 2 ;;
esac
