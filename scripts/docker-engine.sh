#!/usr/bin/env bash
# Sets up Debian's Docker engine on this machine and starts it. Idempotent: a running engine is left alone.
# Nothing else in decnet calls it but the tests that need an engine, and those only as root.
set -euo pipefail
cd "$(dirname "$0")/.."

socket=/var/run/docker.sock
log=/var/log/decnet-dockerd.log
has() { command -v "$1" >/dev/null 2>&1 || [[ -x /usr/sbin/$1 ]]; }
answers() { curl -fsS --max-time 3 --unix-socket "$socket" http://engine/_ping >/dev/null 2>&1; }

# Two test processes may want an engine at once.
if [[ ${DECNET_ENGINE_LOCKED:-} != 1 ]] && has flock && [[ -w /run ]]; then
  exec env DECNET_ENGINE_LOCKED=1 flock --close /run/decnet-docker-engine.lock "$0"
fi

if has curl && answers; then
  echo "a Docker engine answers already"
  exit 0
fi

if [[ $(id -u) -ne 0 ]]; then
  echo "please run as root: make docker-engine" >&2
  exit 1
fi

missing=()
has curl || missing+=(curl)
has dockerd || missing+=(docker.io)
has iptables || missing+=(iptables)
if [[ ${#missing[@]} -gt 0 ]]; then
  if ! has apt-get; then
    echo "please install a Docker engine, iptables and curl" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
      install -y --no-install-recommends "${missing[@]}" >/dev/null
  }
  install || { apt-get -qq update && install; }
fi

if ! answers; then
  if [[ -d /run/systemd/system ]]; then
    systemctl start docker
  else
    # No init system: the engine outlives this script as a daemon of its own.
    echo "starting dockerd, log in $log"
    rm -f /var/run/docker.pid
    setsid nohup dockerd >"$log" 2>&1 </dev/null &
  fi
fi

for _ in $(seq 120); do
  if answers; then
    echo "the Docker engine answers"
    exit 0
  fi
  sleep 0.5
done
echo "the Docker engine did not come up; see $log" >&2
exit 1
