# cases.sh: counted test cases for shell scripts. To be sourced; end_cases prints the count as the last line.
cases_passed=0 cases_failed=0

# check_case NAME COMMAND... : passes if the command succeeds; shows what it printed if not.
check_case() {
  local name=$1 printed
  shift
  if printed=$("$@" 2>&1); then
    echo "passed: $name"
    cases_passed=$((cases_passed + 1))
  else
    [[ -z $printed ]] || tail -n 60 <<<"$printed"
    echo "FAILED: $name"
    cases_failed=$((cases_failed + 1))
  fi
}

# touched PATHSPEC... : the files of it that the last commits touched; all with ALL=true, or where there are fewer commits to look
# at. What takes long is only checked again where it can have changed.
touched() {
  local recent=30 git=(git -c safe.directory='*')
  if [[ ${ALL:-} == true ]] || ! "${git[@]}" rev-parse --verify --quiet "HEAD~$recent" >/dev/null; then
    "${git[@]}" ls-files -- "$@"
  else
    "${git[@]}" diff --name-only --diff-filter=d "HEAD~$recent" HEAD -- "$@"
  fi
}

skip_cases() { echo "SKIPPED: $1"; }

end_cases() {
  echo "$cases_passed passed, $cases_failed failed"
  ((cases_failed == 0))
}
