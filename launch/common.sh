# shellcheck shell=bash
# What the launchers share; they source it.

# The folder of the package's source.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Exit status of a run that was told to stop and has saved. Launchers start the
# same command again.
# shellcheck disable=SC2034  # Of those who source this.
preempted="$(sed -n 's/^PREEMPTED = //p' "$root/nasfas_jax/stopping.py")"

# Nobody may be reading any more: what a script has to do goes on.
say() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2 || true
}

# A mistake of the user: one line.
fail() {
  printf 'error: %s\n' "$*" >&2 || true
  exit 2
}

[[ -n "$preempted" ]] || fail "$root/nasfas_jax/stopping.py has no PREEMPTED"

# The comment at the head of a script.
help() {
  awk 'NR > 1 { if (!sub(/^# ?/, "")) exit; print }' "$0"
}

# One argument as a word of any shell.
quote() {
  if [[ "$1" =~ ^[A-Za-z0-9_./:,=@%+-]+$ ]]; then
    printf '%s' "$1"
  else
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
  fi
}

# Arguments as one line for any shell.
quoted() {
  local word line=''
  for word in "$@"; do
    line+="${line:+ }$(quote "$word")"
  done
  printf '%s' "$line"
}

# Prints a command.
show() {
  printf '+ %s\n' "$(quoted "$@")" >&2 || true
}

# Prints a command and runs it; with --dry-run it only prints.
run() {
  show "$@"
  [[ -n "${dry_run:-}" ]] || "$@"
}

# Reads the options of a launcher into variables: --NAME=VALUE into NAME, --NAME
# into the same with 'yes'; dashes become underscores. What follows -- is left in
# `arguments`.
#
#   parse 'OPTIONS' 'SWITCHES' "$@"
parse() {
  # Named so that no option has the name.
  local _options=" $1 " _switches=" $2 " _name
  shift 2
  arguments=()
  while (($#)); do
    case "$1" in
      --)
        shift
        arguments=("$@")
        return
        ;;
      -h | --help)
        help
        exit 0
        ;;
      --config=* | --config | --workdir=* | --config.*)
        fail "$1 belongs to the run: put -- before it"
        ;;
      --*=*)
        _name="${1%%=*}"
        _name="${_name#--}"
        [[ "$_options" == *" $_name "* ]] ||
          fail "unknown option --$_name; known:$(known "$_options" "$_switches")"
        printf -v "${_name//-/_}" '%s' "${1#*=}"
        ;;
      --*)
        _name="${1#--}"
        [[ "$_options" != *" $_name "* ]] || fail "--$_name needs a value: --$_name=..."
        [[ "$_switches" == *" $_name "* ]] ||
          fail "unknown option --$_name; known:$(known "$_options" "$_switches")"
        printf -v "${_name//-/_}" yes
        ;;
      *)
        fail "$1 is no option; the arguments of the run follow --"
        ;;
    esac
    shift
  done
}

known() {
  local name
  for name in $1; do printf ' --%s=' "$name"; done
  for name in $2; do printf ' --%s' "$name"; done
}

# need NAME: the option has a value.
need() {
  local variable="${1//-/_}"
  [[ -n "${!variable:-}" ]] || fail "--$1 is missing${2:+ ($2)}"
}

# need_count NAME: the option is a whole number, at least that given.
need_count() {
  local variable="${1//-/_}"
  if ! [[ "${!variable}" =~ ^[0-9]{1,6}$ ]] || ((10#${!variable} < ${2:-1})); then
    fail "--$1 is '${!variable}'; it must be a whole number, at least ${2:-1}"
  fi
}

# need_arguments: the run has a config and a workdir; sets `workdir`.
need_arguments() {
  local word before=''
  workdir=''
  local config=''
  for word in ${arguments[@]+"${arguments[@]}"}; do
    case "$word" in
      --config=*) config=yes ;;
      --workdir=*) workdir="${word#*=}" ;;
    esac
    case "$before" in
      --config) config=yes ;;
      --workdir) workdir="$word" ;;
    esac
    before="$word"
  done
  [[ -n "$config" ]] ||
    fail 'the arguments of the run are missing: -- --config=... --workdir=...'
  [[ -n "$workdir" ]] || fail '--workdir is missing after --'
}

# need_tool NAME: the program is there.
need_tool() {
  [[ -n "${dry_run:-}" ]] || command -v "$1" >/dev/null ||
    fail "the program '$1' is not installed${2:+ ($2)}"
}
