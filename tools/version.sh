#!/usr/bin/env bash
# Prints the version that an image or an archive made from this checkout gets: the
# manifest's at a commit that is tagged with it, and with the commit behind it at
# any other, as in 0.1.0-g1a2b3c4 or 0.1.0-g1a2b3c4-dirty.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^  version: //p' builder-config.yaml)
dirty=
git diff --quiet HEAD || dirty=-dirty
if tag=$(git describe --tags --exact-match --match 'v[0-9]*' HEAD 2> /dev/null); then
	if [ "$tag" != "v$version" ]; then
		echo "HEAD is tagged $tag, and builder-config.yaml says $version, which is what the binary prints." >&2
		exit 1
	fi
else
	version+=-g$(git rev-parse --short HEAD)
fi
echo "$version$dirty"
