#!/usr/bin/env bash
# man.sh: the manual page vitrine(1), out of what the program says of itself.
#
#   packaging/man.sh PROGRAM VERSION >vitrine.1
set -euo pipefail
program=${1:?usage: man.sh PROGRAM VERSION} version=${2:?usage: man.sh PROGRAM VERSION}

# Words as roff shows them unchanged.
shown() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^[.']/\\\\\\&&/"; }
section() { # NAME WORDS
  printf '.SH "%s"\n.nf\n' "$1"
  shown <<<"$2"
  echo .fi
}

overview=$("$program" --help)
printf '.TH VITRINE 1 "" "Vitrine %s" "User Commands"\n' "$version"
printf '.SH NAME\nvitrine \\- %s\n' "$(head -n 1 <<<"$overview" | sed 's/^vitrine: //' | shown)"
printf '.SH SYNOPSIS\n.B vitrine\n.I COMMAND\n[\\fIOPTIONS\\fR]\n'
section DESCRIPTION "$(tail -n +3 <<<"$overview")"
for command in $(sed -nE 's/^  vitrine ([a-z]+)  .*/\1/p' <<<"$overview"); do
  if [[ $command == bench ]]; then
    for kind in step infer gemm memory load; do section "vitrine bench $kind" "$("$program" bench $kind --help all)"; done
  else
    section "vitrine $command" "$("$program" "$command" --help all)"
  fi
done
