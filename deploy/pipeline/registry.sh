# shellcheck shell=bash
# Requests to a registry. The scripts of this folder source it. It needs docker buildx and jq.
#
#   REGISTRY     the registry's address, as in ghcr.io or 127.0.0.1:5000
#   REPOSITORY   the image's name there, as in Owner/Name on GitHub; it becomes lower case

: "${REPOSITORY:=drydock}"

command -v jq >/dev/null || { echo 'jq is missing here: apt install jq, or brew install jq' >&2; exit 1; }

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
name() { tr '[:upper:]' '[:lower:]' <<<"$REPOSITORY"; }
target() {
  printf '%s/%s' "${REGISTRY:?Name the registry: REGISTRY=ghcr.io REPOSITORY=owner/name}" "$(name)"
}

# Prints the digest of an image, or nothing if the registry answers that there is none. Any other
# answer is an error: a registry that does not answer must not look like an empty one.
digest_of() {
  local said
  if said=$(docker buildx imagetools inspect "$1" --format '{{json .Manifest}}' 2>&1); then
    jq -r .digest <<<"$said"
  elif ! grep -qiE 'not found|name unknown|manifest unknown' <<<"$said"; then
    fail "$1 can't be looked up: $said"
  fi
}

# Prints the manifest of an image or of an index.
manifest_of() { docker buildx imagetools inspect --raw "$1"; }

# Prints the commit in an image's label. All images of an index have the same one.
revision_of() {
  docker buildx imagetools inspect "$1" --format '{{json .Image}}' |
    jq -r '(if has("config") then . else (to_entries[0].value) end).config.Labels["org.opencontainers.image.revision"] // ""'
}
