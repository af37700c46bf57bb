# packages.sh: the Debian packages that Vitrine needs, and how scripts get them. To be sourced.

packages_library="g++ cmake ninja-build nlohmann-json3-dev zlib1g-dev libdeflate-dev libturbojpeg0-dev libstb-dev libtomlplusplus-dev"
packages_program="libfmt-dev libcli11-dev libcpp-httplib-dev"
packages_tests="doctest-dev libeigen3-dev python3"
packages_mpi="libopenmpi-dev openmpi-bin"
packages_cross="g++-aarch64-linux-gnu qemu-user-static"
packages_web="emscripten nodejs chromium"  # 0.8 GB and more: tests/web_test.sh alone asks for them
packages_lint="git clang-format clang-tidy libomp-dev"
packages_example="dataset-fashion-mnist"

# have_packages PACKAGE... : installs those that are missing. Says the one line to run and returns 1 if it may not or
# cannot. Elsewhere than on Debian it leaves it to CMake to find what there is.
have_packages() {
  command -v dpkg-query >/dev/null || return 0
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  local line="apt-get install -y --no-install-recommends ${missing[*]}"
  if [[ $(id -u) != 0 ]]; then
    echo "Missing packages; run this as root: $line" >&2
    return 1
  fi
  echo "$line" >&2
  if ! (export DEBIAN_FRONTEND=noninteractive && apt-get update -qq && $line -qq) >&2; then
    echo "These packages could not be installed: ${missing[*]}" >&2
    return 1
  fi
}
