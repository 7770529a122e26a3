#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# packages.sh build|full: Debian packages of a stage of the Dockerfile. BASE is what it began from, to be sure that it is pinned.
set -eu

die() {
	echo "packages.sh: $*" >&2
	exit 1
}

case ${BASE:-} in
*@sha256:*) ;;
*) [ "${FIRESTEEL_UNPINNED:-}" = yes ] ||
	die "BASE=${BASE:-} is not pinned: --build-arg BASE=debian@sha256:..., of docker buildx imagetools inspect debian:bookworm-slim" ;;
esac
case ${1:-} in
build) set -- make git ca-certificates ;; # the rest is what scripts/setup.sh asks for, as on any other machine
# Python's own libraries come with python3; gcc and clang by the major versions that kernels are built with.
full) set -- python3 python3-bpfcc libbpf1 libelf1 libseccomp2 ca-certificates gcc make binutils kmod xz-utils ;;
*) die 'usage: packages.sh build|full' ;;
esac
if [ -n "${DEBIAN_ARCHIVE:-}" ]; then
	case $DEBIAN_ARCHIVE in
	http://*) ;;
	https://*) [ -e /etc/ssl/certs/ca-certificates.crt ] ||
		die "DEBIAN_ARCHIVE=$DEBIAN_ARCHIVE: this base has no certificates for https; take http, apt goes by the archive's signature" ;;
	*) die "DEBIAN_ARCHIVE=$DEBIAN_ARCHIVE is no address: http://snapshot.debian.org/archive/debian/20261101T000000Z" ;;
	esac
	rm -f /etc/apt/sources.list.d/debian.sources
	# shellcheck source=/dev/null
	printf 'deb [check-valid-until=no] %s %s main\n' "$DEBIAN_ARCHIVE" "$(. /etc/os-release && echo "$VERSION_CODENAME")" >/etc/apt/sources.list
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install --yes -q --no-install-recommends "$@"
apt-get clean
# Lists and logs say when this was built.
rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache
