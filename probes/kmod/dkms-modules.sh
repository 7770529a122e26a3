#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# dkms-modules.sh DKMS_TREE [remove]: dkms runs this after it installed or removed a module (dkms.conf). An agent's pod does
# not see /lib/modules, where dkms installs. So what dkms has installed is copied to where the pod looks, uncompressed, as
# the agent wants it, and a copy whose original is gone is taken away. What recompile-module.sh built itself stays as it
# is: it may be signed with another key.
#
# Which kernels those are the links in dkms' tree say, not ${kernelver}: a removal for several kernels has the first one's.
# A removal copies nothing: after `firesteel uninstall` it would bring back what that took.
set -eu
umask 022
ours=$1/firesteel
modules=${FIRESTEEL_NODE_ROOT:-}/var/lib/firesteel/modules

is_a_copy() { # <folder>
	grep -qsx 'compiler dkms' "$1/built-from"
}

unpacked() { # <module>
	case $1 in
	*.gz) gzip -dc "$1" ;;
	*.xz) xz -dc "$1" ;;
	*.zst) zstd -dcq "$1" ;;
	*) cat "$1" ;;
	esac
}

is_installed() { # <release>; as a name's beginning 6.1.0 is 6.1.0-13-amd64 too
	for link in "$ours"/kernel-*; do
		target=$(readlink "$link") || continue
		target=${target%/*}
		[ "${target##*/}" != "$1" ] || return 0
	done
	return 1
}

copy() { # <version> <release> <arch>; `set -e` is off in here
	header=$ours/$1/source/include/event.h
	contract=$(awk '$1 == "#define" && $2 == "FS_CONTRACT_VERSION" {print $3}' "$header" 2>/dev/null)
	if [ -z "$contract" ]; then
		echo "dkms-modules: $header tells no contract: no copy for $2" >&2
		return 1
	fi
	folder=$modules/$2/$contract
	if [ -e "$folder/firesteel.ko" ] && ! is_a_copy "$folder"; then
		return
	fi
	mkdir -p "$folder"
	for module in "$ours/$1/$2/$3/module"/firesteel.ko*; do
		unpacked "$module" >"$folder/.firesteel.ko.new" || {
			rm -f "$folder/.firesteel.ko.new"
			rmdir "$folder" "${folder%/*}" 2>/dev/null || true
			echo "dkms-modules: $module cannot be unpacked: no copy in $folder" >&2
			return 1
		}
		mv -f "$folder/.firesteel.ko.new" "$folder/firesteel.ko" &&
			printf 'release %s\ncompiler dkms\n' "$2" >"$folder/built-from"
		return
	done
}

for folder in "$modules"/*/*; do
	release=${folder%/*}
	release=${release##*/}
	if is_a_copy "$folder" && ! is_installed "$release"; then
		rm -f "$folder/firesteel.ko" "$folder/built-from"
		rmdir "$folder" "${folder%/*}" 2>/dev/null || true
	fi
done

if [ "${2:-}" = remove ]; then
	rmdir "$modules" "${modules%/*}" 2>/dev/null || true
	exit
fi

status=0
for link in "$ours"/kernel-*; do
	[ -L "$link" ] || continue
	link=$(readlink "$link")
	release=${link#*/}
	copy "${link%%/*}" "${release%/*}" "${link##*/}" || status=1
done
exit $status
