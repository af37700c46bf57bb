#!/usr/bin/env bash
# sbom.sh: a bill of materials in SPDX's tag-value form: what a built program or library consists of, as Debian's packages.
#
#   packaging/sbom.sh BINARY VERSION >vitrine.spdx
#
# Linked libraries are those that the dynamic linker finds; header-only ones are named here, with the version that is
# installed where this runs. SOURCE_DATE_EPOCH (now) is the time that it bears.
set -euo pipefail
binary=${1:?usage: sbom.sh BINARY VERSION} version=${2:?usage: sbom.sh BINARY VERSION}
header_only="nlohmann-json3-dev libstb-dev libtomlplusplus-dev libcli11-dev"

digest=$(sha256sum "$binary" | cut -d' ' -f1)
cat <<END
SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
SPDXID: SPDXRef-DOCUMENT
DocumentName: vitrine-$version
DocumentNamespace: urn:vitrine:$version:$digest
Creator: Tool: vitrine-packaging/sbom.sh
Created: $(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)

PackageName: vitrine
SPDXID: SPDXRef-vitrine
PackageVersion: $version
PackageDownloadLocation: NOASSERTION
FilesAnalyzed: false
PackageLicenseConcluded: MIT
PackageLicenseDeclared: MIT
PackageCopyrightText: NOASSERTION
PackageChecksum: SHA256: $digest
Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-vitrine
END

# "name version" of the Debian package that a file belongs to, or of the file alone.
package_of() {
  local name
  name=$(dpkg-query -S "$(realpath "$1")" 2>/dev/null || dpkg-query -S "$1" 2>/dev/null || true)
  name=$(head -n 1 <<<"$name" | sed -E 's/(:[a-z0-9]+)?: .*//')
  if [[ -n $name ]]; then
    echo "$name $(dpkg-query -W -f '${Version}' "$name" | head -n 1)"
  else
    echo "$(basename "$1") NOASSERTION"
  fi
}
{
  ldd "$binary" | awk '$3 ~ /^\// { print $3 }' | while read -r library; do echo "DYNAMIC_LINK $(package_of "$library")"; done
  for name in $header_only; do
    installed=$(dpkg-query -W -f '${Version}' "$name" 2>/dev/null || true)
    [[ -z $installed ]] || echo "STATIC_LINK $name $installed"
  done
} | sort -u | while read -r how name installed; do
  id=SPDXRef-$(tr -c 'A-Za-z0-9.\n' '-' <<<"$name")
  cat <<END

PackageName: $name
SPDXID: $id
PackageVersion: $installed
PackageSupplier: Organization: Debian
PackageDownloadLocation: NOASSERTION
FilesAnalyzed: false
PackageLicenseConcluded: NOASSERTION
PackageLicenseDeclared: NOASSERTION
PackageCopyrightText: NOASSERTION
ExternalRef: PACKAGE-MANAGER purl pkg:deb/debian/$name@$installed
Relationship: SPDXRef-vitrine $how $id
END
done
