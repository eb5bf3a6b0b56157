#!/bin/sh
# ShellModule.shout TEXT says it loudly; ShellModule.shout_all TEXT starts a job below its own for each word.
set -eu
cd /kb/module/work
method=$(sed -n 's/.*"method": "\([^"]*\)", "params".*/\1/p' input.json)
text=$(sed -n 's/.*"params": \["\([^"]*\)"\].*/\1/p' input.json)
id=$(sed -n 's/^{"id": "\([^"]*\)".*/\1/p' input.json)

ask() { # METHOD PARAMS
  wget -q -O - --header "Content-Type: application/json" \
    --post-data "{\"version\": \"1.1\", \"id\": \"1\", \"method\": \"$1\", \"params\": [$2]}" "$SDK_CALLBACK_URL"
}

leave() { echo "{\"version\": \"1.1\", \"id\": \"$id\", \"result\": [$1]}" >output.json; }

case $method in
  ShellModule.shout)
    echo "shouting $text"
    loud=$(echo "$text" | tr a-z A-Z)
    echo "$loud" >"tmp/$text.txt"
    leave "\"$loud\""
    ;;
  ShellModule.shout_all)
    grep -q "scratch = /kb/module/work/tmp" ../deploy.cfg
    jobs=
    for word in $text; do
      jobs="$jobs $(ask ShellModule._shout_submit "\"$word\"" | sed -n 's/.*"result": *\["\([^"]*\)"\].*/\1/p')"
    done
    for job in $jobs; do
      until ask ShellModule._check_job "\"$job\"" | grep -q '"finished": *1'; do sleep 1; done
    done
    said=$(for word in $text; do cat "tmp/$word.txt"; done | tr '\n' ' ')
    data=$(cat /data/greeting 2>/dev/null || echo none)
    leave "{\"said\": \"$said\", \"data\": \"$data\", \"secret\": ${#KBASE_SECURE_CONFIG_PARAM_key}}"
    ;;
  *)
    echo '{"version": "1.1", "error": {"code": -32601, "name": "Method not found", "message": "no such method", "error": ""}}' >output.json
    exit 1
    ;;
esac
