# shellcheck shell=bash
# Names of images that always mean the same bytes. The scripts that source this file source
# deploy/settings.sh before.
#
#   ghcr.io/owner/name:v2@sha256:…   from a registry: the tag, and the digest that it had
#   drydock:v2.id-3f9a12bc45de-shop  built on this host: a second tag, with the image's id and the name
#                                    of the stack, which removes the tag after it was last needed
#
# A name with a slash belongs to a registry. What this host has under that name does not count: it may
# be old, or built here.

# Prints the tag in an image's name, for messages.
tag_of() {
  local name=${1%@*}
  name=${name##*/}
  name=${name#*:}
  printf '%s' "${name%.id-*}"
}

# Prints the name of an image in .deployed. Earlier releases wrote only the tag there.
named() {
  local name
  name=$(setting APP_IMAGE drydock)
  case $1 in '' | *:*) printf '%s' "$1" ;; *) printf '%s' "$name:$1" ;; esac
}

is_here() { docker image inspect "$1" >/dev/null 2>&1; }

# Pulls an image and prints its name with the digest that the registry named.
pull() {
  local said digest
  said=$(docker pull "$1" 2>&1) || { echo "$1 can't be pulled: ${said##*$'\n'}" >&2; return 1; }
  digest=$(sed -n 's/^Digest: //p' <<<"$said")
  printf '%s' "${1%@*}@${digest:?docker pull names no digest}"
}

# Prints the lasting name of an image on this host, whose id is $2, for the stack $project.
keep() {
  local id=${2#sha256:} name
  case $1 in *@sha256:* | *.id-*) printf '%s' "$1"; return ;; esac
  name=$1.id-${id:0:12}-${project:?}
  docker tag "$id" "$name" && printf '%s' "$name"
}

# Removes the lasting name $1 that this stack gave to an image, unless the other arguments have it too.
forget() {
  local name=$1 kept
  shift
  case $name in *.id-*-"${project:?}") ;; *) return ;; esac
  for kept; do [ "$kept" != "$name" ] || return 0; done
  docker image rm "$name" >/dev/null 2>&1 || true # a container may still have it
}

# Prints the lasting name of an image, from its registry or from this host.
resolve() {
  local id tag
  case $1 in
    *@sha256:*) if is_here "$1"; then printf '%s' "$1"; else pull "$1"; fi ;;
    *.id-*)
      is_here "$1" || { echo "The image $1 was removed from this host." >&2; return 1; }
      printf '%s' "$1"
      ;;
    */*) pull "$1" ;;
    *)
      tag=$(tag_of "$1")
      id=$(docker image inspect --format '{{.Id}}' "$1" 2>/dev/null) || {
        echo "There is no image $1 on this host: make image TAG=$tag" >&2
        return 1
      }
      keep "$1" "$id"
      ;;
  esac
}

# Checks that the pipeline of the repository $2 on GitHub signed and attested the image $1, which has a
# digest.
verify() {
  local name registry attested
  name=$(tr '[:upper:]' '[:lower:]' <<<"$2")
  registry=${1%"/$name:"*}
  [ "$registry" != "$1" ] || { echo "SIGNED_BY=$2 is not the repository of $1" >&2; return 1; }
  attested=$(setting ATTESTED true)
  REGISTRY=$registry REPOSITORY=$2 ATTESTED=$attested deploy/pipeline/verify "${1##*@}"
}
