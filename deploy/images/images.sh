#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# images.sh BASE NAME [PLATFORM [ARCHIVE]]: both images with whatever container engine is here, NAME:VERSION and NAME:VERSION-full. BASE is
# Debian by digest, PLATFORM as linux/arm64 where that is not this machine's own ('' for that); then the kernel has to run its programs
# (qemu-user-static). ARCHIVE is a snapshot of Debian's archive, for the same packages another day.
set -euo pipefail
cd "$(dirname "$0")/../.."

base=${1:-} name=${2:-firesteel}
case $base in
*@sha256:*) ;;
*)
	echo "BASE=$base is not pinned: make image BASE=debian@sha256:..., the digest of debian:bookworm-slim" >&2
	exit 2
	;;
esac
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
epoch=$(git log -1 --format=%ct)
for engine in docker podman buildah; do
	if command -v $engine >/dev/null; then break; fi
	engine=''
done
[ -n "$engine" ] || {
	echo 'there is no container engine (docker, podman, buildah); make image-rootfs makes what is in the small image' >&2
	exit 1
}
# docker finds the list of what it leaves out beside the Dockerfile; the others want to be told.
options=()
[ "$engine" = docker ] || options=(--ignorefile deploy/images/Dockerfile.dockerignore)
# The second image begins with the first one's build; buildah does not keep it by itself.
[ "$engine" != buildah ] || options+=(--layers)
[ -z "${3:-}" ] || options+=(--platform "$3")
[ -z "${4:-}" ] || options+=(--build-arg DEBIAN_ARCHIVE="$4")
# Whoever has an image and no name of it.
options+=(--label org.opencontainers.image.version="$version" --label org.opencontainers.image.revision="$(git rev-parse HEAD)")
for target in small full; do
	tag=$name:$version
	[ $target = small ] || tag=$tag-full
	$engine build --file deploy/images/Dockerfile "${options[@]}" --target $target --tag "$tag" \
		--build-arg BASE="$base" --build-arg SOURCE_DATE_EPOCH="$epoch" .
	echo "$tag"
done
