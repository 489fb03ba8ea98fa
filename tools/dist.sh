#!/usr/bin/env bash
# Builds archives for linux, darwin and windows on amd64 and arm64, an SBOM for each,
# and SHA256SUMS over all of them. The same commit gives the same files. Environment:
#
#   VERSION    in the names (default: what tools/version.sh says)
#   PLATFORMS  OS/ARCH, with spaces between (default: all six)
#   DIST       directory for what is built (default: dist)
#   BUILD      directory for binaries (default: bin)
#   SOURCE_DATE_EPOCH  time that all files get (default: that of the commit)
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:-$(tools/version.sh)}
platforms=${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}
dist=${DIST:-dist}
build=${BUILD:-bin}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

mkdir -p "$dist"
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
(cd tools && go build -o "$temporary/release" ./release)
release=$temporary/release

# What is in an archive, below a folder of its name: MODE OWNER NAME SOURCE.
contents() {
	local os=$1 name=$2 binary=$3 file
	echo "0755 0 $name/${binary##*/} $binary"
	echo "0644 0 $name/THIRD-PARTY-LICENSES $temporary/licenses"
	for file in LICENSE README.md CHANGELOG.md configs/*.yaml configs/{backend,secure}/*.yaml; do
		[ "$file" = configs/kustomization.yaml ] || echo "0644 0 $name/$file $file"
	done
	if [ "$os" = linux ]; then
		echo "0644 0 $name/systemd/otelcol-custom.service deploy/systemd/otelcol-custom.service"
		echo "0600 0 $name/systemd/otelcol-custom.env deploy/systemd/otelcol-custom.env"
	fi
}

files=()
for platform in $platforms; do
	os=${platform%/*} arch=${platform#*/}
	name=otelcol-custom_${version}_${os}_$arch
	binary=$build/${os}_$arch/otelcol-custom
	archive=$name.tar.gz
	if [ "$os" = windows ]; then
		binary+=.exe
		archive=$name.zip
	fi
	tools/build.sh "$os" "$arch" "$build/${os}_$arch"
	"$release" licenses "$binary" > "$temporary/licenses"
	contents "$os" "$name" "$binary" | "$release" pack "$dist/$archive"
	"$release" sbom -name otelcol-custom -version "$version" "$binary" > "$dist/$name.cdx.json"
	files+=("$archive" "$name.cdx.json")
	echo "$dist/$archive"
done
(cd "$dist" && sha256sum "${files[@]}" > SHA256SUMS)
echo "$dist/SHA256SUMS"
