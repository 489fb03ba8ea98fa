#!/usr/bin/env bash
# Builds deploy/Dockerfile for linux/amd64 and linux/arm64, with podman, buildah or
# docker, whichever is there, into dist/IMAGE_VERSION_linux_ARCH.image.tar: what
# `docker load`, `podman load`, `ctr images import` and `kind load image-archive` take.
# The same commit gives the same images, by their id, which is printed. Environment:
#
#   IMAGE    name of the image (default: otelcol-custom)
#   VERSION  its tag (default: what tools/version.sh says)
#   ARCHS    architectures (default: amd64 arm64)
#   ENGINE   podman, buildah or docker (default: the first that is there)
#   PUSH     1: also push them to the registry in IMAGE, as one name for all architectures
#   DIST     directory for what is built (default: dist)
#   BUILD    directory for binaries (default: bin)
#   SOURCE_DATE_EPOCH  time that all files get (default: that of the commit)
set -euo pipefail
cd "$(dirname "$0")/.."

image=${IMAGE:-otelcol-custom}
version=${VERSION:-$(tools/version.sh)}
archs=${ARCHS:-amd64 arm64}
dist=${DIST:-dist}
build=${BUILD:-bin}
revision=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

engine=${ENGINE:-}
for candidate in podman buildah docker; do
	if [ -z "$engine" ] && command -v "$candidate" > /dev/null; then
		engine=$candidate
	fi
done
case $engine in
podman | buildah | docker)
	if ! command -v "$engine" > /dev/null; then
		echo "ENGINE is $engine, which is not here; podman, buildah and docker are allowed." >&2
		exit 1
	fi
	;;
"")
	echo "No podman, buildah or docker here to build an image with." >&2
	exit 1
	;;
*)
	echo "ENGINE is $engine, and not one of podman, buildah, docker." >&2
	exit 1
	;;
esac

mkdir -p "$dist"
context=$(mktemp -d)
# What the engine calls an image, or a list of them, until it is finished: one that it
# has by the final name stays as it is.
unfinished=localhost/otelcol-custom-unfinished:${context##*.}
trap 'rm -rf "$context"; "$engine" rmi "$unfinished" &> /dev/null || true' EXIT
(cd tools && go build -o "$context/release" ./release)
release=$context/release

# What is in the image: MODE OWNER NAME SOURCE, all of it closed to the user it runs
# as but the directory of the queues.
rootfs() {
	local arch=$1 config
	cat <<-END
		0555 0 otelcol-custom $build/linux_$arch/otelcol-custom
		0555 0 podhelper $build/linux_$arch/podhelper
		0444 0 etc/ssl/certs/ca-certificates.crt $context/ca-certificates.crt
		0444 0 usr/share/doc/otelcol-custom/LICENSE LICENSE
		0444 0 usr/share/doc/otelcol-custom/THIRD-PARTY-LICENSES $context/licenses-$arch
		0444 0 usr/share/sbom/otelcol-custom.cdx.json $context/sbom-$arch.cdx.json
		0700 10001 var/lib/otelcol-custom
	END
	for config in configs/*.yaml configs/{backend,secure}/*.yaml; do
		[ "$config" = configs/kustomization.yaml ] || echo "0444 0 etc/otelcol-custom/${config#configs/} $config"
	done
}

"$release" certificates > "$context/ca-certificates.crt"
for arch in $archs; do
	tools/build.sh linux "$arch" "$build/linux_$arch" otelcol-custom podhelper
	binaries=("$build/linux_$arch/otelcol-custom" "$build/linux_$arch/podhelper")
	"$release" sbom -certificates -name "$image" -version "$version" "${binaries[@]}" > "$context/sbom-$arch.cdx.json"
	"$release" licenses -certificates tools "${binaries[@]}" > "$context/licenses-$arch"
	rootfs "$arch" | "$release" pack "$context/rootfs-$arch.tar"
done

arguments=(
	--file deploy/Dockerfile
	--build-arg "VERSION=$version"
	--build-arg "REVISION=$revision"
	--build-arg "CREATED=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
)
archive() { echo "$dist/${image##*/}_${version}_linux_$1.image.tar"; }

# Builds for one architecture and writes what the builder would load.
build_to() {
	local arch=$1 file=$2
	case $engine in
	podman | buildah)
		# Docker's format, since theirs of the OCI has no health check.
		"$engine" build "${arguments[@]}" --platform "linux/$arch" --format docker --timestamp "$SOURCE_DATE_EPOCH" \
			--layers=false --no-cache --quiet --tag "$unfinished" "$context" > /dev/null
		"$engine" push --quiet "$unfinished" "docker-archive:$file"
		;;
	docker)
		# No attestations: they would be a second image in what is saved.
		DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build "${arguments[@]}" --platform "linux/$arch" \
			--no-cache --quiet --tag "$unfinished" "$context" > /dev/null
		docker save --output "$file" "$unfinished"
		;;
	esac
	"$engine" rmi "$unfinished" > /dev/null
}

for arch in $archs; do
	build_to "$arch" "$context/saved-$arch.tar"
	id=$("$release" image "$image:$version" "$context/saved-$arch.tar" "$(archive "$arch")")
	rm "$context/saved-$arch.tar"
	echo "$(archive "$arch"): $image:$version, $id"
done

if [ "${PUSH:-}" = 1 ]; then
	case $engine in
	podman | buildah)
		"$engine" manifest create "$unfinished" > /dev/null
		for arch in $archs; do
			"$engine" manifest add "$unfinished" "docker-archive:$(archive "$arch")" > /dev/null
		done
		"$engine" manifest push --all --rm --format v2s2 "$unfinished" "docker://$image:$version"
		;;
	docker)
		pushed=()
		for arch in $archs; do
			docker load --quiet --input "$(archive "$arch")"
			pushed+=("$image:$version-$arch")
			docker tag "$image:$version" "${pushed[-1]}"
			docker push "${pushed[-1]}"
		done
		# What a push that failed has left would be added to.
		docker manifest rm "$image:$version" 2> /dev/null || true
		docker manifest create "$image:$version" "${pushed[@]}"
		docker manifest push --purge "$image:$version"
		;;
	esac
fi
