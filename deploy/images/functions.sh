# What the scripts that build and serve images share; sourced.

fail() { echo "$(basename "$(dirname "$0")"): $*" >&2; exit 1; }

listed() { # the lines of a file that say something; none when there is no such file
  [ ! -e "$1" ] || sed 's/[[:space:]]*#.*//; /^[[:space:]]*$/d' "$1"
}

push_image() { # an OCI layout and its tag, then registry, repository and tag: the digest stays the same; no TLS on loopback
  local tls=true
  case $2 in 127.* | localhost:* | localhost/*) tls=false ;; esac
  skopeo --insecure-policy copy --quiet --preserve-digests --dest-tls-verify=$tls "oci:$1" "docker://$2"
}
