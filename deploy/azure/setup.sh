#!/usr/bin/env bash
# Prepares a compute instance for the toolkit: `install` once, when it is made, `start` each time it starts. Root runs it.
#
# The temporary disk becomes the toolkit's home; engine and GPU are looked at; the toolkit is installed from one exact commit.
# Running it again is quick and changes nothing that is right already.
set -euo pipefail

user=${CI_LOCAL_UBUNTU_USER:-azureuser}
disk=/mnt
repository='' revision='' workspace='' registry=''
command_name=edge-setup
notes=()

say() { echo "$command_name: $*" >&2; }
note() { say "$*" && notes+=("$*"); }
fail() {
    say "error: $1"
    say "  $2"
    exit 1
}
as_user() { runuser -u "$user" -- env HOME="$user_home" "$@"; }

usage() {
    cat >&2 <<'END'
usage: setup.sh install [--repository URL --revision COMMIT] [--workspace SUBSCRIPTION/GROUP/NAME] [--registry HOST] [--user NAME] [--disk FOLDER]
       setup.sh start [--user NAME] [--disk FOLDER]
END
    exit 2
}

read_arguments() {
    action=${1:-}
    case "$action" in install | start) shift ;; *) usage ;; esac
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || usage
        case "$1" in
            --repository) repository=$2 ;;
            --revision) revision=$2 ;;
            --workspace) workspace=$2 ;;
            --registry) registry=$2 ;;
            --user) user=$2 ;;
            --disk) disk=$2 ;;
            *) usage ;;
        esac
        shift 2
    done
}

# What can be known to be wrong is said before anything is changed.
check_arguments() {
    [ "$(id -u)" -eq 0 ] || fail "only root can prepare the machine." "Run it again with sudo."
    id -u "$user" >/dev/null 2>&1 || fail "there is no user '$user' here." "Name the one who will work here: --user NAME."
    user_home=$(getent passwd "$user" | cut -d: -f6)
    checkout=$user_home/olive-edge-toolkit
    [ -d "$disk" ] || fail "$disk is no folder." "Name the one where the temporary disk is mounted: --disk FOLDER."
    [ -n "$repository" ] || return 0
    [[ $revision =~ ^[0-9a-f]{40}$ ]] || fail "--revision '$revision' is no full commit." \
        "Names of branches and tags can move; \`git rev-parse HEAD\` prints the commit that you mean, 40 digits."
    case "$repository" in
        *://*@*) fail "the repository's address has a user or password in it." "It would be kept where everybody on this workspace can read it: clone a private repository yourself." ;;
    esac
}

free_kb() { df --output=avail -k "$1" | tail -1; }

# The temporary disk is empty after each stop, so the folder is made at each start. A disk that is none is told, for it fills the other.
prepare_home() {
    edge_home=$disk/edge
    if [ "$(stat -c %d "$disk")" = "$(stat -c %d /)" ]; then
        note "$disk is no disk of its own: runs and models will fill the disk of the system, of which $(($(free_kb /) / 1048576)) GB are free."
    fi
    install -d -m 0750 -o "$user" -g "$(id -g "$user")" "$edge_home"
    say "home: $edge_home, $(($(free_kb "$edge_home") / 1048576)) GB free; what lies there is gone once the instance stops"
}

# Settings that a person wrote are never touched.
write_settings() {
    local folder=$user_home/.config/edge-toolkit
    if [ -e "$folder/settings.toml" ]; then
        say "settings: $folder/settings.toml is there already and stays as it is"
        return 0
    fi
    # Each folder by itself, for `install -d` gives only the last one to its owner.
    install -d -o "$user" -g "$(id -g "$user")" "$user_home/.config"
    install -d -o "$user" -g "$(id -g "$user")" "$folder"
    {
        echo "home = \"$edge_home\""
        [ -z "$workspace" ] || echo "workspace = \"$workspace\""
        [ -z "$registry" ] || echo "registry = \"$registry\""
    } >"$folder/settings.toml.new"
    chown "$user:$(id -g "$user")" "$folder/settings.toml.new"
    mv "$folder/settings.toml.new" "$folder/settings.toml"
    say "settings: $folder/settings.toml"
}

# Nothing here is worth stopping for: without an engine the toolkit works in local processes, without a GPU on the CPU.
check_engine() {
    if ! command -v docker >/dev/null; then
        note "no container engine: images cannot be made here. Install Docker, then run this again."
        return 0
    fi
    if ! timeout 30 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
        note "Docker does not answer. \`systemctl status docker\` tells why."
        return 0
    fi
    if getent group docker >/dev/null && ! id -nG "$user" | tr ' ' '\n' | grep -qx docker; then
        usermod -aG docker "$user"
        say "engine: $user may use Docker from the next sign-in on"
    fi
    if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
        note "no NVIDIA GPU answers: builds take the CPU."
    elif ! timeout 30 docker info --format '{{json .Runtimes}}' 2>/dev/null | grep -q nvidia && ! ls /etc/cdi/nvidia* /var/run/cdi/nvidia* >/dev/null 2>&1; then
        note "Docker does not know the GPU: install NVIDIA's container toolkit, then \`nvidia-ctk runtime configure --runtime=docker\` and restart Docker."
    else
        say "engine: Docker, with $(nvidia-smi -L | head -1 | sed 's/ (UUID.*//')"
    fi
}

is_usable_python() { "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# 3.12 and 3.11 before others: the locked build environments for CUDA are made for these.
find_python() {
    local name
    for name in python3.12 python3.11 python3.13 python3 "$user_home/.edge-python/bin/python3"; do
        if is_usable_python "$name"; then
            python=$name
            return 0
        fi
    done
    return 1
}

install_python() {
    local version conda
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >&2 || true
        for version in 3.12 3.11; do
            apt-get install -y -qq --no-install-recommends "python$version" "python$version-venv" >&2 2>/dev/null && find_python && return 0
        done
        apt-get install -y -qq --no-install-recommends python3 python3-venv >&2 2>/dev/null && find_python && return 0
    fi
    for conda in conda /anaconda/bin/conda /opt/conda/bin/conda; do
        if command -v "$conda" >/dev/null; then
            as_user "$conda" create -y -q -p "$user_home/.edge-python" python=3.12 >&2 && find_python && return 0
        fi
    done
    fail "no Python from 3.11 on, and none could be installed." "Install python3.12 with its venv module, then run this again."
}

install_git() {
    command -v git >/dev/null && return 0
    if command -v apt-get >/dev/null; then
        apt-get update -qq >&2 || true
        apt-get install -y -qq --no-install-recommends git ca-certificates >&2 || true
    fi
    command -v git >/dev/null || fail "git is not here and could not be installed." "Install it, then run this again."
}

get_checkout() {
    if [ ! -d "$checkout/.git" ]; then
        as_user git init -q "$checkout"
        as_user git -C "$checkout" remote add origin "$repository"
    fi
    if [ "$(as_user git -C "$checkout" rev-parse -q --verify HEAD 2>/dev/null || true)" = "$revision" ]; then
        return 0
    fi
    if [ -n "$(as_user git -C "$checkout" status --porcelain --untracked-files=no)" ]; then
        fail "$checkout has changes of its own." "Commit them or take them back, then run this again."
    fi
    as_user git -C "$checkout" remote set-url origin "$repository"
    as_user env GIT_TERMINAL_PROMPT=0 git -C "$checkout" fetch -q --depth 1 origin "$revision" ||
        fail "$revision cannot be fetched from $repository." "Is the commit pushed there, and does the repository answer without a password?"
    as_user git -C "$checkout" checkout -q --detach FETCH_HEAD
}

install_toolkit() {
    local mark=$checkout/.venv/.edge-setup
    if [ -z "$repository" ]; then
        note "no --repository: clone the toolkit yourself, then \`make env\` there."
        return 0
    fi
    install_git
    get_checkout
    if [ "$(cat "$mark" 2>/dev/null || true)" != "$revision" ]; then
        find_python || install_python
        say "toolkit: installing $revision with $python"
        as_user "$python" -m venv "$checkout/.venv" || fail "no virtual environment could be made in $checkout." "The lines above tell why."
        as_user "$checkout/.venv/bin/pip" install --quiet --disable-pip-version-check -e "${checkout}[azure]" ||
            fail "the toolkit's packages could not be installed." "The lines above tell which; this can be run again as it is."
        echo "$revision" | as_user tee "$mark" >/dev/null
    fi
    ln -sfn "$checkout/.venv/bin/edge" /usr/local/bin/edge
    say "toolkit: $revision"
}

finish() {
    local one
    [ "${#notes[@]}" -eq 0 ] || say "done, but:"
    for one in "${notes[@]}"; do say "  - $one"; done
    [ ! -x /usr/local/bin/edge ] || as_user /usr/local/bin/edge doctor >&2 || true
    say "ready. Next: \`edge login\`, then \`edge doctor\`."
}

read_arguments "$@"
check_arguments
prepare_home
[ "$action" = install ] || exit 0
write_settings
check_engine
install_toolkit
finish
