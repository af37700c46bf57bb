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

skip_cases() { echo "SKIPPED: $1"; }

end_cases() {
  echo "$cases_passed passed, $cases_failed failed"
  ((cases_failed == 0))
}
