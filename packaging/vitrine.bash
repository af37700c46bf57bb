# vitrine.bash: completes vitrine's commands and options in bash. They are asked of the program, so they are its own.

_vitrine() {
  local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words=()
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    words=($("$program" --help 2>/dev/null | sed -nE 's/^  vitrine ([a-z]+)  .*/\1/p') help --help --version)
  elif [[ $command == bench ]] && ((COMP_CWORD == 2)); then
    words=($("$program" bench --help 2>/dev/null | sed -nE 's/^  vitrine bench ([a-z]+)  .*/\1/p'))
  elif [[ $word == -* ]]; then
    local of=("$command")
    [[ $command != bench ]] || of+=("${COMP_WORDS[2]}")
    words=($("$program" "${of[@]}" --help all 2>/dev/null | sed -nE 's/^  (--[a-z0-9-]+).*/\1/p') --help)
  else
    return # a file, or a value: what bash itself offers
  fi
  COMPREPLY=($(compgen -W "${words[*]}" -- "$word"))
}
complete -o default -F _vitrine vitrine
