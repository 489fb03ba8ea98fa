#!/usr/bin/env bash
# Builds the binaries for one platform, as `make build` does for this one:
#
#   tools/build.sh OS ARCH DIRECTORY [COMMAND...]
set -euo pipefail
cd "$(dirname "$0")/.."

os=$1 arch=$2 directory=$3
shift 3
suffix=
[ "$os" != windows ] || suffix=.exe
for command in "${@:-otelcol-custom}"; do
	CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=auto -ldflags '-s -w' \
		-o "$directory/$command$suffix" "./cmd/$command"
done
