# shellcheck shell=bash
# Requests to a registry. The scripts of this folder source it. It needs docker buildx and jq.
#
#   REGISTRY     the registry's address, as in ghcr.io or 127.0.0.1:5000
#   REPOSITORY   the image's name there, as in Owner/Name on GitHub; it becomes lower case

: "${REPOSITORY:=drydock}"

command -v jq >/dev/null || { echo 'jq is missing here: apt install jq, or brew install jq' >&2; exit 1; }

# A failure of a function below ends a script only if the script assigns its output to a variable. In
# `[ "$(f)" ]`, `for x in $(f)` or `run "$(f)"` the shell ignores it. shellcheck looks for these.
say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
name() { tr '[:upper:]' '[:lower:]' <<<"$REPOSITORY"; }
target() {
  local name
  name=$(name)
  printf '%s/%s' "${REGISTRY:?Name the registry: REGISTRY=ghcr.io REPOSITORY=owner/name}" "$name"
}
# The shell would run what a name holds, if it were not checked: a git tag may be called v1;id
check_tag() { [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$ ]] || fail "'$1' can't be the tag of an image."; }
# Prints the image that a digest or a tag names.
image_named() {
  local target
  target=$(target)
  case $1 in
    sha256:*) printf '%s@%s' "$target" "$1" ;;
    *) check_tag "$1" && printf '%s:%s' "$target" "$1" ;;
  esac
}

# Prints the digest of an image, or nothing if the registry answers that there is none. Any other
# answer is an error: a registry that does not answer must not look like an empty one.
digest_of() {
  local said
  if said=$(docker buildx imagetools inspect "$1" --format '{{json .Manifest}}' 2>&1); then
    jq -r .digest <<<"$said"
  elif [[ $said != *"$1: not found" ]]; then
    fail "$1 can't be looked up: $said"
  fi
}

# Prints the manifest of an image or of an index.
manifest_of() { docker buildx imagetools inspect --raw "$1"; }

# Prints the commit in an image's label. All images of an index have the same one.
revision_of() {
  local image
  image=$(docker buildx imagetools inspect "$1" --format '{{json .Image}}') || fail "$1 can't be read."
  jq -r '(if has("config") then . else (to_entries[0].value) end).config.Labels["org.opencontainers.image.revision"] // ""' <<<"$image"
}
