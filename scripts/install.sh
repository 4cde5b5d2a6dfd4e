#!/usr/bin/env bash
# Installs the system packages that are missing. Idempotent, and silent when there is nothing to do.
#   scripts/install.sh up      what `decnet up` needs
#   scripts/install.sh test    that, and what the tests need
#   scripts/install.sh race    that, and a C compiler
set -euo pipefail
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null 2>&1; }

# What is missing is asked of the system, not of the package manager: that is fast and works on any distribution.
has_postgres() { has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

missing=()
need() { # need PACKAGE CHECK...
  local package=$1
  shift
  "$@" || missing+=("$package")
}

need_for_up() {
  need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
  need postgresql has_postgres
  [[ ! -f web/package.json ]] || need npm has npm
}

need_for_test() {
  need_for_up
  need curl has curl
  need default-mysql-client has mysql
  need expect has expect
  need hydra has hydra
  need inetutils-telnet has telnet
  need iproute2 has ip
  need jq has jq
  need lftp has lftp
  need netcat-openbsd has nc
  need nmap has nmap
  need openssh-client has ssh
  need postgresql-client has psql
  need openssl has openssl
  need procps has ps
  need redis-tools has redis-cli
  need sshpass has sshpass
  need tnftp has tnftp
}

need_for_race() {
  need_for_test
  need gcc has gcc
  need libc6-dev test -e /usr/include/stdlib.h
}

case ${1:-} in
  up) need_for_up ;;
  test) need_for_test ;;
  race) need_for_race ;;
  *)
    echo "usage: $0 up|test|race" >&2
    exit 2
    ;;
esac

has go || {
  echo "go is missing: install the version named in go.mod, see https://go.dev/dl" >&2
  exit 1
}

[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! has apt-get; then
  echo "please install what provides: ${missing[*]}" >&2
  exit 1
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! has sudo; then
    echo "please run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

log=$(mktemp)
no_cluster=/etc/postgresql-common/createcluster.d/decnet.conf
cleanup() {
  rm -f "$log"
  "${as_root[@]}" rm -f "$no_cluster"
}

apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1
}

install() { apt install -y --no-install-recommends "${missing[@]}"; }

echo "installing ${missing[*]}"
trap cleanup EXIT
# decnet runs a private cluster; the package's own one would only occupy a port.
"${as_root[@]}" mkdir -p "${no_cluster%/*}"
echo 'create_main_cluster = false' | "${as_root[@]}" tee "$no_cluster" >/dev/null
# The first attempt fails on a machine without, or with old, package lists.
if ! install && ! { apt update && install; }; then
  cat "$log" >&2
  echo "please run as root: apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
