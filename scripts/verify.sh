#!/usr/bin/env bash
# Checks what a compiler cannot: generated files are current, migrations are numbered without gaps, go.mod is tidy, the
# documents hold together. Called by `make verify`.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
fail() {
  echo "verify: $*" >&2
  failed=1
}

# Every text file of the tree, tracked or new; all files where there is no git.
files() {
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard -- "$@"
  else
    find . \( -path ./bin -o -path ./data -o -path ./.git -o -name node_modules \) -prune -o -type f -print |
      sed 's|^\./||' | while read -r f; do
        for p in "$@"; do
          # shellcheck disable=SC2053 # a pattern on purpose
          [[ $f == $p || $p == . ]] && echo "$f" && break
        done
      done
  fi | while read -r f; do [[ -f $f ]] && echo "$f"; done || true
}

generated_is_current() {
  local before
  before=$(mktemp -d)
  local outputs=(db/dbsqlc api/openapi.yaml)
  for o in "${outputs[@]}"; do
    if [[ -e $o ]]; then
      mkdir -p "$before/$(dirname "$o")"
      cp -R "$o" "$before/$o"
    fi
  done
  "${MAKE:-make}" generate
  for o in "${outputs[@]}"; do
    diff -ruN "$before/$o" "$o" || fail "$o was out of date; commit the regenerated files"
  done
  rm -rf "$before"
}

migrations_are_gapless() {
  local expected=1 number f
  for f in db/migrations/*; do
    if [[ ! ${f##*/} =~ ^([0-9]{5})_[a-z0-9_]+\.sql$ ]]; then
      fail "$f is not named NNNNN_verb_noun.sql"
      continue
    fi
    number=$((10#${BASH_REMATCH[1]}))
    [[ $number -eq $expected ]] || fail "$f should be number $expected"
    expected=$((number + 1))
    if ! grep -q "^-- +goose Up" "$f" || ! grep -q "^-- +goose Down" "$f"; then
      fail "$f needs an Up and a Down part"
    fi
  done
}

module_is_tidy() { go mod tidy -diff || fail "go.mod is not tidy"; }

documents_hold_together() {
  local f link target
  while read -r f; do
    while read -r link; do
      target=${link%%#*}
      [[ -z $target || $target == *://* || $target == mailto:* ]] && continue
      [[ -e $(dirname "$f")/$target ]] || fail "$f links to $target, which does not exist"
    done < <(grep -oE '\]\([^) ]+\)' "$f" | sed -E 's/^\]\((.*)\)$/\1/')
    ! grep -nE 'file://|(^|[^a-z.])/(home|Users)/[a-z]+/' "$f" || fail "$f names a path of somebody's machine"
  done < <(files '*.md')
  # The place of this checkout must not have leaked into any file.
  while read -r f; do
    ! grep -InF "$PWD/" "$f" || fail "$f names the path of this checkout"
  done < <(files .)
}

generated_is_current
migrations_are_gapless
module_is_tidy
documents_hold_together
exit "$failed"
