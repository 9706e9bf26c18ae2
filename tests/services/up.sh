#!/usr/bin/env bash
# Make this machine ready for the tests that need an engine, a registry, Azure's storage, a terminal multiplexer, an SSH server or g++.
#
# As root it installs what is missing and starts a Docker daemon where no engine answers; otherwise it only looks.
# What is there in the end is written to .state beside this file, one name=value a line. Running it again is quick.
# With CI=true, a machine that cannot be made ready is an error.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=$here/.state
log=$here/up.log
base_name=edge-toolkit/base:bookworm
azurite=azurite@3.35.0 # the newest that runs on Debian 12's own Node.js, which is 18
: >"$log"

say() { echo "up: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
is_root() { [ "$(id -u)" -eq 0 ]; }
engine_answers() { timeout 20 docker version --format '{{.Server.Version}}' >>"$log" 2>&1; }
unset DOCKER_BUILDKIT

# command:package
needed=(docker:docker.io dockerd:docker.io iptables:iptables debootstrap:debootstrap docker-registry:docker-registry
    htpasswd:apache2-utils tmux:tmux sshd:openssh-server node:nodejs npm:npm g++:g++ curl:curl)

missing_packages() {
    local pair
    for pair in "${needed[@]}"; do
        # Someone else's engine (Docker's own packages, a socket from outside) serves as well as Debian's.
        if [ "${pair#*:}" = docker.io ] && has docker && { has dockerd || engine_answers; }; then
            continue
        fi
        has "${pair%%:*}" || echo "${pair#*:}"
    done | sort -u
}

install_missing() {
    local packages
    mapfile -t packages < <(missing_packages)
    [ "${#packages[@]}" -gt 0 ] || return 0
    if ! is_root || ! has apt-get; then
        say "not installed, and only root can: ${packages[*]}"
        return 0
    fi
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # policy-rc.d: packages may not start daemons of their own; what the tests need they start on loopback.
    local policy=/usr/sbin/policy-rc.d made_policy=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made_policy=yes
    fi
    {
        apt-get update && apt-get install -y --no-install-recommends "${packages[@]}"
    } >>"$log" 2>&1 || say "not everything could be installed; see $log"
    [ -z "$made_policy" ] || rm -f "$policy"
}

install_azurite() {
    has azurite-blob && return 0
    if ! is_root || ! has npm; then
        say "not installed, and only root can: $azurite"
        return 0
    fi
    say "installing $azurite"
    timeout 300 npm install --global --ignore-scripts --no-audit --no-fund "$azurite" >>"$log" 2>&1 || say "no $azurite; see $log"
}

# A daemon that was killed leaves its pid behind; where another process has that pid by now, the next daemon would not start.
clear_stale_pids() {
    local file pid
    for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        case "$(cat "/proc/$pid/comm" 2>/dev/null || true)" in
            dockerd | containerd) ;;
            *) rm -f "$file" ;;
        esac
    done
}

start_engine() {
    local flags
    clear_stale_pids
    # Its own choice first (overlay2, mostly); vfs works where the disk under it allows no overlay.
    for flags in "" "--storage-driver=vfs"; do
        say "starting dockerd $flags; its log is $here/dockerd.log"
        # shellcheck disable=SC2086  # one flag or none
        setsid nohup dockerd $flags >>"$here/dockerd.log" 2>&1 </dev/null &
        local pid=$!
        for _ in $(seq 60); do
            sleep 0.5
            if engine_answers; then
                return 0
            fi
            kill -0 "$pid" 2>/dev/null || break
        done
        kill "$pid" 2>/dev/null || true
    done
    return 1
}

ready_engine() {
    has docker || return 1
    engine_answers && return 0
    is_root && has dockerd && start_engine
}

# The image that images here are built on: Debian's own where it is there or can be pulled, else one made on the spot.
base_image() {
    local official=debian:12-slim
    if docker image inspect "$base_name" >/dev/null 2>&1; then
        echo "$base_name"
    elif docker image inspect "$official" >/dev/null 2>&1 || timeout 60 docker pull "$official" >>"$log" 2>&1; then
        echo "$official"
    elif "$here/../../containers/base/make_base.sh" "$base_name" >>"$log" 2>&1; then
        echo "$base_name"
    fi
}

install_missing
install_azurite
# An SSH server started by root, as the tests start one on loopback, wants its empty folder.
if is_root && has sshd; then mkdir -p -m 0755 /run/sshd; fi
{
    if ready_engine; then
        echo "engine=yes"
        echo "base_image=$(base_image)"
    else
        echo "engine=no"
    fi
    if has docker-registry && has htpasswd; then echo "registry=yes"; else echo "registry=no"; fi
    if has tmux; then echo "tmux=yes"; else echo "tmux=no"; fi
    if has sshd; then echo "sshd=yes"; else echo "sshd=no"; fi
    if has azurite-blob; then echo "azurite=yes"; else echo "azurite=no"; fi
} >"$state.new"
mv "$state.new" "$state"
tr '\n' ' ' <"$state" >&2
echo >&2

if [ "${CI:-}" = true ] && grep -qE '=(no)?$' "$state"; then
    say "CI needs all of it; see $log and $here/dockerd.log"
    exit 1
fi
