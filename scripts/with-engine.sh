#!/usr/bin/env bash
#
# with-engine.sh COMMAND [ARGUMENT...]
#
# Makes sure that a Docker engine answers, runs the command, and hands on its exit code. Signals reach the command.
#
# If no engine answers, on Linux as root: installs Debian's docker.io when there is no dockerd (an existing configuration is never
# touched), and starts the engine: through systemd where it runs, and then it stays; else by hand, and then it is stopped when the
# last command that uses it is done. Anywhere else it says what to do, and fails.
#
# Several may run at once. Each holds a shared lock while its command runs; who gets the exclusive one at the end was the last.
#
# For an engine of your own, beside the machine's: DOCKER_HOST, CODE_MODE_DOCKERD (the command that starts it) and
# CODE_MODE_DOCKER_RUN_DIR (the folder of its docker.pid).

# shellcheck disable=SC2317 # what traps call looks unreachable

set -euo pipefail

readonly START_WITHIN_S=60
readonly STOP_WITHIN_S=30

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# DOCKER_HOST may name the usual place too.
docker_host=${DOCKER_HOST:-}
if [ "$docker_host" = unix:///var/run/docker.sock ]; then docker_host=; fi
run_dir=${CODE_MODE_DOCKER_RUN_DIR:-/var/run}
log=$run_dir/code-mode-engine.log
lock=$run_dir/code-mode-engine.lock
started=$run_dir/code-mode-engine.started

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "$@"
  exit 1
}

# --- is there an engine? ---------------------------------------------------------------------------------------------------------

reason=
answers() { reason=$(node "$here/engine-probe.mjs"); }

wait_for_answer() { # [pid of the process that is to answer]
  local deadline=$((SECONDS + START_WITHIN_S))
  until answers; do
    if [ -n "${1:-}" ] && ! kill -0 "$1" 2>/dev/null; then return 1; fi
    if [ "$SECONDS" -ge "$deadline" ]; then return 1; fi
    sleep 0.2
  done
}

# --- what to do where none can be had --------------------------------------------------------------------------------------------

explain() {
  local address=${docker_host:-/var/run/docker.sock}
  say "Code Mode runs each program in a container, and no Docker engine can be used at $address."
  case $reason in
    denied)
      say "There is one, but this user may not use it. Join its group, then log in again:"
      say "    sudo usermod -aG docker \"\$(id -un)\""
      return
      ;;
    silent)
      say "Something took the connection, but gave no good answer. Look at the engine's log, or restart it."
      return
      ;;
    unsupported)
      say "DOCKER_HOST must be unix:///path/of/the.sock or tcp://host:port."
      return
      ;;
  esac
  if [ -n "$docker_host" ]; then
    say "DOCKER_HOST names that address. Start the engine there, or unset DOCKER_HOST."
    return
  fi
  case $(uname -s) in
    Darwin)
      say "Start Docker Desktop, or colima (\"colima start\"). If it listens elsewhere, say where, for example:"
      say "    export DOCKER_HOST=unix://\$HOME/.docker/run/docker.sock      (Docker Desktop)"
      say "    export DOCKER_HOST=unix://\$HOME/.colima/default/docker.sock  (colima)"
      ;;
    Linux)
      if [ "$(id -u)" -ne 0 ]; then
        if command -v dockerd >/dev/null; then
          say "Docker is installed but not running. Start it:"
          say "    sudo systemctl start docker"
        else
          say "Install one and join its group, then log in again:"
          say "    sudo apt-get install docker.io && sudo usermod -aG docker \"\$(id -un)\""
        fi
        say "As root this would be done for you."
      else
        say "Install Docker (https://docs.docker.com/engine/install/) and start it. This can be done for you only where apt-get is."
      fi
      ;;
    *) say "Install and start a Docker engine for Linux containers, then set DOCKER_HOST if it listens elsewhere." ;;
  esac
}

# --- get one ---------------------------------------------------------------------------------------------------------------------

may_start() {
  [ "$reason" = absent ] && [ "$(uname -s)" = Linux ] && [ "$(id -u)" -eq 0 ] || return 1
  [ -n "${CODE_MODE_DOCKERD:-}" ] && return 0
  [ -z "$docker_host" ] || return 1
  command -v dockerd >/dev/null || command -v apt-get >/dev/null
}

# Whether a process of that name runs under that id. One that is dead and not collected yet does not.
runs_as() { # pid name
  local name state
  [ -r "/proc/$1/status" ] || return 1
  name=$(sed -n 's/^Name:\t//p' "/proc/$1/status" 2>/dev/null) || return 1
  state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
  [ "$name" = "$2" ] && [ "$state" != Z ]
}

pid_in() { # file
  local pid
  pid=$(tr -dc 0-9 2>/dev/null <"$1") || return 1
  [ -n "$pid" ] && printf '%s' "$pid"
}

# A killed engine leaves its pid files. Once another process has that id, the next engine believes that one is running already.
remove_stale_pid_files() {
  local file name pid
  for name in dockerd containerd; do
    file=$run_dir/docker.pid
    if [ "$name" = containerd ]; then file=$run_dir/docker/containerd/containerd.pid; fi
    if [ ! -e "$file" ]; then continue; fi
    pid=$(pid_in "$file") || pid=0
    if ! runs_as "$pid" "$name"; then rm -f -- "$file"; fi
  done
}

any_dockerd() { grep -qsx dockerd /proc/[0-9]*/comm; }

install_engine() {
  say "Installing Debian's docker.io ..."
  # Kept quiet unless it fails. apt must not read this script's input or hold its locks.
  export DEBIAN_FRONTEND=noninteractive
  {
    apt-get update -o DPkg::Lock::Timeout=120 &&
      apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold docker.io
  } </dev/null >"$log" 2>&1 8>&- 9>&- || {
    tail -n 30 "$log" >&2
    fail "docker.io could not be installed; the end of apt's messages is above."
  }
  hash -r
}

# Fails with 1 when the engine ended by itself, with 2 when it runs and does not answer.
start_by_hand() { # [further arguments of dockerd]
  # shellcheck disable=SC2086 # the command may carry arguments
  setsid ${CODE_MODE_DOCKERD:-dockerd} "$@" </dev/null >"$log" 2>&1 8>&- 9>&- &
  local pid=$! failure=1
  printf '%s\n' "$pid" >"$started"
  disown "$pid"
  if wait_for_answer "$pid"; then return; fi
  if kill -0 "$pid" 2>/dev/null; then failure=2; fi
  stop_engine_if_ours
  return "$failure"
}

start_engine() {
  if [ -z "${CODE_MODE_DOCKERD:-}" ]; then
    if ! command -v dockerd >/dev/null; then
      install_engine
      # The package may have started it.
      if any_dockerd && wait_for_answer; then return; fi
    fi
    if [ -d /run/systemd/system ]; then
      systemctl start docker 8>&- 9>&- || fail "\"systemctl start docker\" failed; \"journalctl -u docker\" says why."
      wait_for_answer || fail "Docker was started by systemd, but does not answer; \"journalctl -u docker\" says why."
      return
    fi
  fi
  remove_stale_pid_files
  local running
  if running=$(pid_in "$run_dir/docker.pid"); then
    wait_for_answer "$running" || fail "dockerd (process $running) runs, but does not answer. Stop it, then try again."
    return
  fi
  if ! grep -qE '^[^ ]+ [^ ]+ cgroup2? ' /proc/mounts; then
    fail "The Docker engine cannot be started: no cgroup file system is mounted, so nothing could be limited." \
      "Mount one (\"mount -t cgroup2 none /sys/fs/cgroup\"), or, inside a container, run that one with --privileged."
  fi
  mkdir -p "$run_dir"
  local failure=0
  start_by_hand || failure=$?
  # A kernel without packet filters cannot give containers a network. None is needed here.
  if [ "$failure" -eq 1 ] && [ ! -e /etc/docker/daemon.json ]; then
    failure=0
    start_by_hand --iptables=false --ip6tables=false --bridge=none || failure=$?
  fi
  if [ "$failure" -eq 0 ]; then return; fi
  tail -n 30 "$log" >&2
  fail "The Docker engine could not be started; the end of its log ($log) is above."
}

stop_engine_if_ours() {
  local pid
  pid=$(pid_in "$started" 2>/dev/null) || return 0
  rm -f -- "$started"
  runs_as "$pid" dockerd || return 0
  kill -TERM "$pid" || return 0
  local deadline=$((SECONDS + STOP_WITHIN_S))
  while runs_as "$pid" dockerd; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      say "The Docker engine that was started for this (process $pid) does not stop; its log is $log."
      return 0
    fi
    sleep 0.1
  done
}

# --- locks -----------------------------------------------------------------------------------------------------------------------
#
# They order who starts and who stops an engine. Only root on Linux does; others take part if the file is there.

locked=
take_lock() {
  if ! command -v flock >/dev/null || [ "$(uname -s)" != Linux ]; then return 0; fi
  if [ "$(id -u)" -eq 0 ]; then
    mkdir -p "$run_dir"
    exec 9>>"$lock"
  elif [ -r "$lock" ]; then
    exec 9<"$lock"
  else
    return 0
  fi
  flock --shared 9
  locked=yes
}

leave() {
  if [ -z "$locked" ]; then return; fi
  locked=
  if [ "$(id -u)" -eq 0 ] && flock --exclusive --nonblock 9; then stop_engine_if_ours; fi
  exec 9>&-
}

get_engine() {
  if answers; then return; fi
  if ! may_start; then
    explain
    exit 1
  fi
  # One starts it; the others wait and then find it.
  exec 8>>"$lock.start"
  flock --exclusive 8
  if ! answers; then start_engine; fi
  exec 8>&-
}

# --- the command -----------------------------------------------------------------------------------------------------------------

child=
signalled=
handed_on_at=-10
# A signal to a whole group comes here twice when make, which is in it, hands its own on. Programs take a second one for impatience.
hand_on() { # signal
  signalled=yes
  if [ -z "$child" ]; then exit 1; fi
  if [ $((SECONDS - handed_on_at)) -lt 2 ]; then return; fi
  handed_on_at=$SECONDS
  kill "-$1" -- "-$child" 2>/dev/null || true
}

# In a process group of its own, so that each signal reaches it once: from here, and not from the terminal as well.
run_command() {
  set -m
  "$@" </dev/null 8>&- 9>&- &
  child=$!
  set +m
  local status=0 before
  wait "$child" || status=$?
  while [ -n "$signalled" ]; do
    signalled=
    before=$status
    status=0
    wait "$child" || status=$?
    # 127: it had ended, and the wait before this one had told how.
    if [ "$status" -eq 127 ]; then status=$before; fi
  done 2>/dev/null
  return "$status"
}

if [ $# -eq 0 ]; then fail "usage: with-engine.sh COMMAND [ARGUMENT...]"; fi

trap leave EXIT
for signal in INT TERM HUP; do
  # shellcheck disable=SC2064 # the name is to be filled in now
  trap "hand_on $signal" "$signal"
done

take_lock
get_engine
status=0
run_command "$@" || status=$?
exit "$status"
