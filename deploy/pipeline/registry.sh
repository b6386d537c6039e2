# shellcheck shell=bash
# What the scripts of this folder ask a registry. Sourced; needs docker buildx and jq.
#
#   REGISTRY     where images are pushed, as in ghcr.io or 127.0.0.1:5000
#   REPOSITORY   what they are called there, as in Owner/Name on GitHub; in lower case

: "${REPOSITORY:=drydock}"

command -v jq >/dev/null || { echo 'jq is missing here: apt install jq, or brew install jq' >&2; exit 1; }

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
name() { tr '[:upper:]' '[:lower:]' <<<"$REPOSITORY"; }
target() {
  printf '%s/%s' "${REGISTRY:?Say where images are: REGISTRY=ghcr.io REPOSITORY=owner/name}" "$(name)"
}

# The digest of a name, or nothing where the registry says that it has none. Any other answer is an
# error: a registry that can't be asked must not look like an empty one.
digest_of() {
  local said
  if said=$(docker buildx imagetools inspect "$1" --format '{{json .Manifest}}' 2>&1); then
    jq -r .digest <<<"$said"
  elif ! grep -qiE 'not found|name unknown|manifest unknown' <<<"$said"; then
    fail "$1 can't be looked up: $said"
  fi
}

# The manifest that a name leads to: of one image, or of an index.
manifest_of() { docker buildx imagetools inspect --raw "$1"; }

# The commit that an image says it was built from; an index's images say the same.
revision_of() {
  docker buildx imagetools inspect "$1" --format '{{json .Image}}' |
    jq -r '(if has("config") then . else (to_entries[0].value) end).config.Labels["org.opencontainers.image.revision"] // ""'
}
