# shellcheck shell=bash
# Settings for the scripts that source this file: from .env and from the shell, as Compose reads them.
settings=$(docker compose -f compose.yaml config --environment)
# Prints the setting $1, or $2 if it is unset or empty.
setting() {
  local found
  found=$(sed -n "s/^$1=//p" <<<"$settings")
  printf '%s' "${found:-${2:-}}"
}
