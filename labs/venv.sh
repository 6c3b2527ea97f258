# Sourced by labs/run and tests/run: this repository's .venv, made and filled if need be. Not a command of its own.
# Before: program (its name in messages), root (of the repository). After: say, fail, and what install_missing needs.
# shellcheck shell=sh

venv=$root/.venv
begin=$(date +%s)

say() { printf '[%3d s] %s\n' "$(($(date +%s) - begin))" "$*"; }

fail() {
    printf '%s: %s\n' "$program" "$*" >&2
    exit 1
}

find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# logged STEP COMMAND...: run with the output in the log; on failure show its end and stop
logged() {
    step=$1
    shift
    "$@" >>"$log_file" 2>&1 && return 0
    tail -n 8 "$log_file" | sed 's/^/    /' >&2
    fail "$step failed, see the lines above"
}

keep_log() {
    log_file=$(mktemp)
    trap 'rm -f "$log_file" "$log_file.status"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

drop_log() {
    rm -f "$log_file" "$log_file.status"
    trap - EXIT INT TERM
}

# install_packages PACKAGE...: Debian's, without questions
install_packages() {
    command -v apt-get >/dev/null 2>&1 || fail "needs what Debian has in: $*; install your system's packages for it"
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1 ||
        fail "cannot install $*: neither root nor sudo; run as root: apt-get install $*"
    as_root true || fail "sudo was refused, and these Debian packages must be installed: $*"
    say "installing from Debian: $*"
    logged "apt-get update" as_root apt-get update -q
    logged "apt-get install $*" \
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

create_venv() {
    "$venv/bin/python" -c 'import pip' 2>/dev/null && return 0
    say "creating .venv with $("$python" --version)"
    if ! "$python" -m venv --clear "$venv" >>"$log_file" 2>&1; then
        rm -rf "$venv"
        [ -z "${without_packages:-}" ] || fail "$without_packages; as root: apt-get install python3-venv"
        install_packages python3-venv
        logged "python3 -m venv" "$python" -m venv --clear "$venv"
    fi
}

install_project() {
    say "installing opencscf and what it needs into .venv"
    # The pipe shows what is being fetched; the status file carries pip's own status past it.
    {
        "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
            --retries 2 --timeout 20 --editable "$root$1" 2>&1 && echo 0 >"$log_file.status" ||
            echo 1 >"$log_file.status"
    } | tee -a "$log_file" | sed -n 's/^ *Collecting \([^ ]*\).*/        \1/p'
    if [ "$(cat "$log_file.status")" != 0 ]; then
        sed -n "s/^ *WARNING: Retrying .* after connection broken by '\(.*\)'.*/    \1/p" "$log_file" | tail -n 1 >&2
        grep -E '^ *ERROR' "$log_file" | tail -n 4 | sed 's/^ */    /' >&2
        fail "pip could not install the project, see the lines above"
    fi
}

# can_build: say whether C twins can be built here
can_build() {
    command -v "${CC:-cc}" >/dev/null 2>&1 || return 0
    "$python" -c 'import os, sysconfig; os.path.exists(sysconfig.get_path("include") + "/Python.h") and print("twins")'
}

# install_missing [EXTRA]: have the project and its EXTRA in .venv as pyproject.toml wants them now, and C twins if they can be built
install_missing() {
    extra=${1:+[$1]}
    stamp=$venv/opencscf-installed
    python=$(find_python) || fail "needs Python 3.11 or newer; python3 here is: $(python3 --version 2>&1 || true)"
    wanted="$root $(cat "$root/pyproject.toml" "$root"/*/*/_*.c | cksum) $(can_build)"
    if [ -x "$venv/bin/opencscf" ] && [ "$(cat "$stamp$extra" 2>/dev/null || true)" = "$wanted" ]; then
        return 0
    fi
    keep_log
    create_venv
    install_project "$extra"
    printf '%s\n' "$wanted" | tee "$stamp" >"$stamp$extra"
    say "installed"
    drop_log
}
