#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Gets this machine ready: system packages and the virtual environment. The Makefile calls it; it may be called again
# at any time and does only what is still missing.
#
#   setup.sh packages run|test|lint|demo|vm|image...  look for compilers, headers and programs, install their packages
#   setup.sh venv run|dev                make .venv from the pinned requirements
#   setup.sh extension-suffix            print how this environment's compiled modules end
#   setup.sh give-back                   after sudo make in somebody's clone: what root made there becomes theirs
#
# Packages are installed without a question only as root without a terminal (a container, CI). Otherwise the one command
# is shown and asked for once.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
stamps=build/stamps
say() { printf 'firesteel: %s\n' "$*" >&2; }
die() {
	say "$@"
	exit 1
}

# What must be there : the Debian or Ubuntu package that has it. A name that ends in .h is a header.
needs_run='
make:make
cc:gcc
clang:clang
bpf/libbpf.h:libbpf-dev
gelf.h:libelf-dev
zlib.h:zlib1g-dev
linux/bpf.h:linux-libc-dev
'
needs_test='
bpftool:bpftool
capsh:libcap2-bin
liburing.h:liburing-dev
chromium:chromium
curl:curl
dnsmasq:dnsmasq-base
dnsperf:dnsperf
fuzzer-runtime:libclang-rt-dev
go:golang-go
h2load:nghttp2-client
ip:iproute2
iperf3:iperf3
iptables:iptables
java:default-jdk-headless
kubectl:kubernetes-client
mvn:maven
mariadb:mariadb-client-core
mariadb-slap:mariadb-client
mariadbd:mariadb-server-core
memcached:memcached
mosquitto:mosquitto
nginx:nginx-light
node:nodejs
npm:npm
openssl:openssl
pgbench:postgresql-client
postgres:postgresql
promtool:prometheus
rabbitmq-server:rabbitmq-server
redis-benchmark:redis-tools
redis-server:redis-server
tcpdump:tcpdump
unbound:unbound
wrk:wrk
'
needs_demo='
dnsmasq:dnsmasq-base
ip:iproute2
mount:mount
nginx:nginx-light
openssl:openssl
postgres:postgresql
prometheus:prometheus
redis-server:redis-server
setpriv:util-linux
'
needs_vm='
qemu-system-x86_64:qemu-system-x86
debian-keyring:debian-archive-keyring
depmod:kmod
gcc:gcc
static-libc:libc6-dev
bpfcc:python3-bpfcc
'
needs_image='
mmdebstrap:mmdebstrap
debian-keyring:debian-archive-keyring
'
needs_lint='
clang-format:clang-format
clang-tidy:clang-tidy
shellcheck:shellcheck
git:git
'
# Packages whose service must not start because somebody runs our tests.
services='memcached mosquitto nginx postgresql rabbitmq-server redis-server unbound prometheus'

has() {
	case $1 in
	bpfcc) /usr/bin/python3 -c 'import bcc' 2>/dev/null ;;
	postgres) compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ;;
	debian-keyring) [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ;;
	static-libc) compgen -G '/usr/lib/*/libc.a' >/dev/null ;;
	fuzzer-runtime) compgen -G "$(clang --print-resource-dir 2>/dev/null)/lib/*/libclang_rt.fuzzer*.a" >/dev/null ;;
	*.h) compgen -G "/usr/include/$1" >/dev/null || compgen -G "/usr/include/*-linux-gnu*/$1" >/dev/null ||
		compgen -G "/usr/local/include/$1" >/dev/null ;;
	*) PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
	esac
}

# The packages of a table whose content is not here.
missing_of() {
	local row
	for row in $1; do
		has "${row%%:*}" || printf '%s\n' "${row#*:}"
	done | sort -u | tr '\n' ' '
}

# Ubuntu names two packages differently.
name_here() {
	# shellcheck source=/dev/null
	case $(. /usr/lib/os-release && echo "$ID"):$1 in
	ubuntu:bpftool) echo linux-tools-generic ;;
	ubuntu:chromium) echo chromium-browser ;;
	*) echo "$1" ;;
	esac
}

# Python with a version we can use: prints it.
find_python() {
	local candidate
	for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
		if command -v "$candidate" >/dev/null &&
			"$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			command -v "$candidate"
			return
		fi
	done
	return 1
}

# Packages without which this Python can neither make an environment nor compile a module. The system's own Python comes
# in pieces; others (pyenv, docker images) are whole.
missing_of_python() {
	local python=$1 version
	version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	"$python" -c 'import ensurepip, venv' 2>/dev/null || printf '%s ' "python$version-venv"
	"$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h")).close()' \
		2>/dev/null || printf '%s ' "python$version-dev"
}

install_packages() {
	local rule=/usr/sbin/policy-rc.d made=no unit
	export DEBIAN_FRONTEND=noninteractive
	# Debian starts a service as soon as its package is there, unless this file says no (exit 101).
	if [ ! -e $rule ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee $rule >/dev/null
		as_root chmod 755 $rule
		made=yes
		trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
	fi
	as_root apt-get install --yes -q --no-install-recommends "$@" >&2 || return 1
	if [ $made = yes ]; then
		as_root rm -f $rule
		trap - EXIT
	fi
	[ -d /run/systemd/system ] || return 0
	for unit in $services; do
		case " $* " in
		*" $unit "* | *" $unit-light "*) as_root systemctl disable --quiet "$unit" 2>/dev/null || true ;;
		esac
	done
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Asks once; an answer of no is remembered for the packages that are optional.
agreed() {
	local answer
	if [ "$(id -u)" = 0 ] && [ ! -t 0 ]; then return 0; fi
	[ -t 0 ] || return 1
	[ "$(id -u)" = 0 ] || command -v sudo >/dev/null || return 1
	printf 'firesteel: run it now? [Y/n] ' >&2
	read -r answer || return 1
	case $answer in '' | y* | Y* | j* | J*) return 0 ;; *) return 1 ;; esac
}

packages() {
	local kind=$1 list wanted='' name python declined=$stamps/declined-$1 sudo=''
	case $kind in
	run)
		list=$(missing_of "$needs_run")
		if python=$(find_python); then
			list="$list$(missing_of_python "$python")"
		else
			# One that is too old is not made newer by installing it again.
			[ ! -x /usr/bin/python3 ] ||
				die "$(/usr/bin/python3 --version) is this system's, and 3.11 or later is needed: Debian 12 and Ubuntu 24.04 have it; PYTHON=/path/to/another names one"
			list="${list}python3 python3-venv python3-dev "
		fi
		;;
	test) list=$(missing_of "$needs_test") ;;
	lint) list=$(missing_of "$needs_lint") ;;
	demo) list=$(missing_of "$needs_demo") ;;
	vm) list=$(missing_of "$needs_vm") ;;
	image) list=$(missing_of "$needs_image") ;;
	*) die "setup.sh packages: run, test, lint, demo, vm or image, not '$kind'" ;;
	esac
	[ -n "${list// /}" ] || return 0
	if ! command -v apt-get >/dev/null; then
		say "missing here: $list"
		say "(Debian's names; this system has no apt-get: install the same with its own package manager)"
		[ "$kind" != run ] || exit 1
		return 0
	fi
	if [ "$kind" != run ] && [ -f "$declined" ] && [ "$(cat "$declined")" = "$list" ]; then
		return 0 # asked before; what cannot run is told at the end of the tests
	fi
	if [ "$(id -u)" != 0 ]; then
		sudo='sudo '
		command -v sudo >/dev/null || say "(there is no sudo here: as root, without the word sudo)"
	fi
	for name in $list; do wanted="$wanted $(name_here "$name")"; done
	say "these packages of the system are missing to $kind:$wanted"
	say "  ${sudo}apt-get update && ${sudo}apt-get install --yes --no-install-recommends$wanted"
	if agreed; then
		# shellcheck disable=SC2086 # a list of names
		if { update_lists && install_packages $wanted; }; then return 0; fi
		say "apt-get could not install them: see its message above"
		[ "$kind" != run ] || exit 1
		return 0
	fi
	[ "$kind" != run ] || die "nothing was changed. Run the command above, then make again."
	mkdir -p "$stamps"
	printf '%s' "$list" >"$declined"
	say "going on without them; the tests that need them will be skipped and named"
}

# Lists are fetched once a day: two kinds of packages in one go need them once.
update_lists() {
	if [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mtime -1 2>/dev/null | head -1)" ] &&
		[ -f $stamps/apt-lists ] && [ -n "$(find $stamps/apt-lists -mtime -1)" ]; then
		return 0
	fi
	as_root apt-get update -q >&2 || return 1
	mkdir -p "$stamps"
	touch $stamps/apt-lists
}

make_venv() {
	local kind=$1 requirements python
	case $kind in
	run) requirements='requirements.txt' ;;
	dev) requirements='requirements-dev.txt' ;;
	*) die "setup.sh venv: run or dev, not '$kind'" ;;
	esac
	mkdir -p "$stamps" 2>/dev/null || true
	[ -w "$stamps" ] || die "build/ is not yours (made by root?): sudo chown -R $(id -un) . and then make again"
	python=$(find_python) || die "Python 3.11 or later is needed and not here: apt-get install python3 python3-venv python3-dev"
	# A half-made environment (interrupted, or its Python was removed) is made anew. The stamp is written last of all.
	if ! "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		say "making $venv with $("$python" --version)"
		rm -rf "$venv"
		"$python" -m venv "$venv" || { rm -rf "$venv" && die "could not make $venv: see the message above"; }
	fi
	say "installing $requirements"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements" ||
		die "pip could not install $requirements: see its message above (no network? a proxy?), then make again"
	"$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable . ||
		die "pip could not install the project itself: see its message above"
	# Compiled modules depend on the Python's version only: this stamp changes when that does.
	extension_suffix >"$stamps/python.new"
	if cmp -s "$stamps/python.new" "$stamps/python"; then rm "$stamps/python.new"; else mv "$stamps/python.new" "$stamps/python"; fi
	[ "$kind" = run ] || touch "$stamps/venv-run"
	touch "$stamps/venv-$kind"
}

extension_suffix() {
	"$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))'
}

# Otherwise make test after sudo make run could neither write nor remove what is there.
give_back() {
	local owner
	owner=$(stat -c %u:%g .)
	[ "$(id -u)" = 0 ] && [ "${owner%:*}" != 0 ] || return 0
	# Folders that Python makes when the agent starts; of files in them the folder's owner is master.
	find analyzers collector exporters probes -name '*.py' -printf '%h/__pycache__\0' | sort -zu | xargs -0 mkdir -p
	find . -xdev -path ./.git -prune -o -user 0 -exec chown -h "$owner" {} + ||
		say "what root made here stays root's; to remove or change it, use sudo"
}

case ${1:-} in
packages)
	for kind in "${@:2}"; do packages "$kind"; done
	;;
venv) make_venv "${2:-run}" ;;
extension-suffix) extension_suffix ;;
give-back) give_back ;;
*) die "usage: setup.sh packages run|test|lint|demo|vm|image..., venv run|dev, extension-suffix, give-back" ;;
esac
