#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the kernel module for this node, or for a named release, and leaves it where the agent looks for it:
# /var/lib/firesteel/modules/<release>/<contract>/firesteel.ko. Needs make, binutils and a compiler that the kernel knows;
# no container engine, no terminal, and no network where the headers are here. `recompile-module.sh --help` has the rest.
set -euo pipefail

tree=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# Where the node's own files are: a container may have them mounted elsewhere.
node=${FIRESTEEL_NODE_ROOT:-}
node=${node%/}

release='' headers='' output='' image='' key='' certificate='' compiler=''
want_dkms=no want_list=no dry=no force=no try=auto
work='' made_folders=() published=''

usage() {
	cat <<-'TEXT'
		usage: recompile-module.sh [options]

		  --kernel RELEASE   for this kernel, as uname -r names it (default: the running one)
		  --headers DIR      its prepared headers (default: /lib/modules/RELEASE/build, /usr/src, then the
		                     distribution's header package, downloaded but not installed)
		  --cc COMPILER      only this one (default: the one that built the kernel, then every other that is here)
		  --output DIR       default: /var/lib/firesteel/modules
		  --sign KEY CERT    sign the module: where Secure Boot, lockdown or module.sig_enforce ask for it
		  --dkms             hand the sources to dkms as well, which rebuilds them with each new kernel
		  --image NAME       put all built modules into a layer on this image, tagged NAME-modules
		  --no-try           do not load the module once to see whether the kernel takes it
		  --force            build even if the result is there and of these sources
		  --list             kernels whose headers are here, and modules that are built
		  --dry-run          say what would be done
	TEXT
}

say() { printf 'recompile-module: %s\n' "$*" >&2; }

# die REASON REMEDY: the last two lines that somebody reads.
die() {
	say "$1"
	[ -z "${2:-}" ] || say "what to do: $2"
	exit 1
}

# Whatever happens, nothing half-made stays.
clean_up() {
	local status=$? i
	[ -z "$work" ] || rm -rf "$work"
	if [ $status != 0 ]; then
		[ -z "$published" ] || rm -f "$published"
		for ((i = ${#made_folders[@]} - 1; i >= 0; i--)); do rmdir "${made_folders[i]}" 2>/dev/null || true; done
	fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		--kernel | --headers | --cc | --output | --image)
			[ $# -ge 2 ] || die "$1 needs a value" "recompile-module.sh --help"
			case $1 in
			--kernel) release=$2 ;;
			--headers) headers=$2 ;;
			--cc) compiler=$2 ;;
			--output) output=$2 ;;
			--image) image=$2 ;;
			esac
			shift 2
			;;
		--sign)
			[ $# -ge 3 ] || die "--sign needs a private key and a certificate" "--sign key.pem cert.der"
			key=$2 certificate=$3
			shift 3
			;;
		--dkms) want_dkms=yes && shift ;;
		--list) want_list=yes && shift ;;
		--dry-run) dry=yes && shift ;;
		--force) force=yes && shift ;;
		--no-try) try=no && shift ;;
		-h | --help) usage && exit 0 ;;
		*) die "there is no option $1" "recompile-module.sh --help" ;;
		esac
	done
}

define_of() { # <header> <name>: the value of a #define, without quotes
	sed -n "s/^#define $2 \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$1" | head -n 1
}

config_says() { # <headers> <line>
	grep -qsx "$2" "$1/.config" "$1/include/config/auto.conf" "$node/boot/config-$release"
}

# --- headers -----------------------------------------------------------------------------------------------------

# The release that a folder of prepared headers is for; fails if it is none.
release_of() {
	local file
	# Debian's kernel.release is the upstream version; what the module is marked with is in the header.
	for file in "$1/include/generated/utsrelease.h" "$1/include/config/kernel.release"; do
		[ -r "$file" ] || continue
		case $file in
		*.h) define_of "$file" UTS_RELEASE ;;
		*) head -n 1 "$file" ;;
		esac
		return 0
	done
	return 1
}

header_places() {
	printf '%s\n' "$node/lib/modules/$release/build" "$node/usr/src/linux-headers-$release" "$node/usr/src/kernels/$release"
}

# Sets headers; the last resort is the network.
find_headers() {
	local place found
	if [ -n "$headers" ]; then
		[ ! -d "$headers" ] || headers=$(cd "$headers" && pwd)
		found=$(release_of "$headers") || die "$headers has no prepared kernel headers (include/generated/utsrelease.h)" \
			"give the folder that the package linux-headers-$release or kernel-devel-$release installs"
		[ "$found" = "$release" ] || die "$headers is for Linux $found, not for $release" "--kernel $found, or the headers of $release"
		return
	fi
	while read -r place; do
		found=$(release_of "$place" 2>/dev/null) || continue
		[ "$found" = "$release" ] || continue
		headers=$place
		return
	done < <(header_places)
	# Not /sys/kernel/kheaders.tar.xz: it has the headers and nothing that builds with them (gen_kheaders.sh packs *.h only).
	fetch_headers && return
	die "no headers of Linux $release (looked in $(header_places | tr '\n' ' ' | sed 's/ $//; s/ /, /g'); $fetch_fault)" \
		"apt-get install linux-headers-$release, or dnf install kernel-devel-$release; recompile-module.sh --list shows what is here"
}

fetch_fault='no package manager is known here'

# The distribution's package, unpacked into our own folder: nothing is installed.
fetch_headers() {
	local folder=$work/packages
	if command -v apt-get >/dev/null; then
		[ $dry = no ] || { say "would download linux-headers-$release with apt-get" && headers=downloaded && return 0; }
		mkdir -p "$folder" && fetch_debian "$folder" && return 0
	elif command -v dnf >/dev/null || command -v yumdownloader >/dev/null; then
		[ $dry = no ] || { say "would download kernel-devel-$release" && headers=downloaded && return 0; }
		mkdir -p "$folder" && fetch_rpm "$folder" && return 0
	fi
	return 1
}

fetch_debian() {
	local folder=$1 names="linux-headers-$release" name
	fetch_fault="apt has no package linux-headers-$release"
	apt-cache show "linux-headers-$release" >/dev/null 2>&1 || return 1
	say "downloading linux-headers-$release"
	for name in $(apt-cache depends "linux-headers-$release" | sed -n 's/^ *Depends: \(linux-[^ ]*\)$/\1/p'); do
		case $name in linux-compiler-* | linux-image-* | *:any) ;; *) names="$names $name" ;; esac
	done
	fetch_fault='apt-get could not download it'
	# shellcheck disable=SC2086 # a list of names
	(cd "$folder" && apt-get download $names >"$work/download.log" 2>&1) || {
		tail -n 5 "$work/download.log" >&2
		return 1
	}
	for name in "$folder"/*.deb; do dpkg-deb -x "$name" "$folder/root"; done
	headers=$folder/root/usr/src/linux-headers-$release
	[ -d "$headers" ]
}

fetch_rpm() {
	local folder=$1 name
	fetch_fault="kernel-devel-$release could not be downloaded"
	say "downloading kernel-devel-$release"
	if command -v dnf >/dev/null; then
		(cd "$folder" && dnf download "kernel-devel-$release" >"$work/download.log" 2>&1) || return 1
	else
		(cd "$folder" && yumdownloader "kernel-devel-$release" >"$work/download.log" 2>&1) || return 1
	fi
	for name in "$folder"/*.rpm; do (cd "$folder" && rpm2cpio "$name" | cpio -idm --quiet); done
	headers=$folder/usr/src/kernels/$release
	[ -d "$headers" ]
}

# Debian's arch folder includes the common one by its absolute path: for unpacked packages the common Makefile is named.
make_in_headers() {
	local common objects=()
	common=$(sed -n 's|^include /usr/src/\(linux-headers-.*-common[^/]*\)/Makefile$|\1|p' "$headers/Makefile" 2>/dev/null | head -n 1)
	if [ -n "$common" ] && [ ! "$headers" -ef "/usr/src/linux-headers-$release" ] && [ -f "$headers/../$common/Makefile" ]; then
		! grep -q '^KBUILD_OUTPUT=' "$headers/Makefile" || objects=(KBUILD_OUTPUT="$headers")
		make -C "$headers" -f "$(cd "$headers/../$common" && pwd)/Makefile" "${objects[@]}" "$@"
	else
		make -C "$headers" "$@"
	fi
}

# --- compilers ---------------------------------------------------------------------------------------------------

# What built the kernel, as its configuration tells it: "gcc 12", "clang 14".
built_by() {
	local text
	text=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\(.*\)"$/\1/p' "$headers/.config" "$headers/include/config/auto.conf" 2>/dev/null | head -n 1) || true
	[ -n "$text" ] || text=$(sed -n "s/^#define LINUX_COMPILER \"\(.*\)\"\$/\1/p" "$headers/include/generated/compile.h" 2>/dev/null) || true
	case $text in
	*clang*) printf 'clang %s\n' "$(sed -n 's/.*clang version \([0-9]*\).*/\1/p' <<<"$text")" ;;
	*gcc*) printf 'gcc %s\n' "$(grep -o '[0-9]\+\.[0-9]\+\.[0-9]\+' <<<"$text" | head -n 1 | cut -d. -f1)" ;;
	*) echo 'gcc 0' ;;
	esac
}

# The compilers that are worth trying, best first: that of the kernel, then others by how near their version is. Each
# once, however many names it has.
compilers() {
	local family major path name version
	read -r family major < <(built_by)
	[ -n "$major" ] || major=0
	{
		for path in ${PATH//:/ }; do
			for name in "$path/$family" "$path/$family"-[0-9]*; do
				[[ ${name##*/} =~ ^(gcc|clang)(-[0-9.]+)?$ && -x $name ]] || continue
				version=$("$name" -dumpversion 2>/dev/null | cut -d. -f1) || continue
				[ -n "$version" ] || continue
				printf '%s %s %s\n' "$((version > major ? version - major : major - version))" "${name##*/}" "$(readlink -f "$name")"
			done
		done
	} | sort -s -n -k1,1 | awk '!seen[$3]++ {print $2}'
}

build_with() { # <compiler>: leaves $work/<compiler>/firesteel.ko, or the compiler's words in build.log
	local folder=$work/build-${1##*/} llvm=()
	[[ ${1##*/} != clang* ]] || llvm=(LLVM=1)
	rm -rf "$folder"
	mkdir "$folder"
	cp "$tree"/probes/kmod/{Kbuild,features.sh} "$tree"/probes/kmod/*.[ch] "$folder/"
	rm -f "$folder/config.h" "$folder"/*.mod.c
	mkdir "$folder/include"
	cp "$tree"/probes/include/*.h "$folder/include/"
	# Type information of the module itself would need pahole and the kernel's image, and nobody reads it.
	make_in_headers -j "$(nproc)" M="$folder" CC="$1" "${llvm[@]}" CONFIG_DEBUG_INFO_BTF_MODULES= modules >"$work/build.log" 2>&1 && [ -f "$folder/firesteel.ko" ]
}

# Failures that no other compiler would mend.
give_up_early() {
	local line
	line=$(grep -m 1 -E "version .GLIBC[^ ]* not found|error while loading shared libraries|cannot execute binary file|Exec format error" "$work/build.log") &&
		die "a program of these headers does not run here: ${line##*/}" \
			"run this on the node itself, or in a container of its own release: headers bring programs along that want its libraries (libelf1 among them)"
	! grep -q 'No space left on device' "$work/build.log" || die "the disk is full" "TMPDIR=<a folder with 20 MB to spare>"
}

build() {
	local candidates name family major tried='' began=$SECONDS warnings
	read -r family major < <(built_by)
	if [ -n "$compiler" ]; then candidates=$compiler; else candidates=$(compilers); fi
	[ -n "$candidates" ] || die "no $family is here, and it was $family $major that built Linux $release" "apt-get install $family-$major, or dnf install $family"
	if [ $dry = yes ]; then
		say "would build in $headers with: $(tr '\n' ' ' <<<"$candidates")(the kernel's own: $family $major)"
		return
	fi
	for name in $candidates; do
		command -v "$name" >/dev/null || die "there is no compiler $name" "--cc with one that is here, or none"
		say "building for Linux $release with $name (the kernel's own: $family $major)"
		if build_with "$name"; then
			built=$work/build-${name##*/}/firesteel.ko
			built_with=$name
			say "compiled in $((SECONDS - began)) s"
			warnings=$(grep -c 'warning:.*\[-W' "$work/build.log" || true)
			[ "$warnings" = 0 ] || say "the compiler warned $warnings times; the first: $(grep -m 1 'warning:.*\[-W' "$work/build.log")"
			return
		fi
		tried="$tried $name"
		say "$name failed; its last lines:"
		tail -n 15 "$work/build.log" | sed 's/^/    /' >&2
		give_up_early
	done
	die "no compiler that is here can build for Linux $release (tried:$tried)" \
		"the one that built the kernel: apt-get install $family-$major, or dnf install $family"
}

# --- signing and trying ------------------------------------------------------------------------------------------

# Why the kernel will only take a signed module; empty if it takes any.
signature_wanted() {
	if config_says "$headers" CONFIG_MODULE_SIG_FORCE=y; then
		echo "Linux $release was built to load signed modules only (CONFIG_MODULE_SIG_FORCE)"
	elif [ "$release" = "$(uname -r)" ]; then
		if grep -qs '[Y1]' "$node/sys/module/module/parameters/sig_enforce"; then
			echo 'this kernel loads signed modules only (module.sig_enforce)'
		elif grep -Eqs '\[(integrity|confidentiality)\]' "$node/sys/kernel/security/lockdown"; then
			echo 'this kernel is locked down (Secure Boot) and loads signed modules only'
		fi
	fi
}

check_signature() {
	local reason
	if [ -n "$key" ]; then
		[ -r "$key" ] || die "the key $key cannot be read" "--sign KEY CERT, both readable"
		[ -r "$certificate" ] || die "the certificate $certificate cannot be read" "--sign KEY CERT, both readable"
		return
	fi
	reason=$(signature_wanted)
	[ -z "$reason" ] || die "$reason" \
		"--sign KEY CERT, with a certificate that it trusts: openssl req -new -x509 -newkey rsa:2048 -keyout key.pem -outform DER -out cert.der -nodes -days 3650 -subj /CN=firesteel/ makes one, mokutil --import cert.der and a reboot have it trusted"
}

sign() {
	local tool
	[ -n "$key" ] || return 0
	for tool in "$headers/scripts/sign-file" "$node/usr/lib/linux-kbuild-${release%%-*}/scripts/sign-file" "$(command -v kmodsign || true)"; do
		[ -x "$tool" ] || continue
		say "signing with $key"
		if "$tool" sha256 "$key" "$certificate" "$1" >"$work/sign.log" 2>&1; then return; fi
		tail -n 5 "$work/sign.log" | sed 's/^/    /' >&2
		die "signing failed: see above" "a key in PEM and a certificate in PEM or DER that belong together"
	done
	die "there is no sign-file among the headers, and no kmodsign" "apt-get install linux-kbuild-${release%%-*} or sbsigntool"
}

# Loads it once: only the kernel itself knows whether it takes it. Not where there is nothing to try.
try_loading() {
	local said
	if [ $try = no ] || [ -n "$node" ] || [ "$release" != "$(uname -r)" ] || [ "$(id -u)" != 0 ] || [ ! -e /proc/modules ]; then
		say "not tried: $(why_not_tried)"
		return
	fi
	if [ -d /sys/module/firesteel ]; then
		say 'not tried: a module is loaded already; the agent exchanges it at its next start'
		return
	fi
	if ! said=$(insmod "$1" 2>&1); then
		dmesg 2>/dev/null | tail -n 8 | sed 's/^/    /' >&2 || true
		say "the kernel's own words are above"
		case $said in
		*'Key was rejected'* | *'Required key'*) die "Linux $release loads signed modules only" '--sign KEY CERT' ;;
		*'not permitted'*) die "loading modules is not permitted here: $said" "root of the node with CAP_SYS_MODULE; sysctl kernel.modules_disabled must be 0" ;;
		*) die "the kernel refuses the module: $said" "the headers must be those of the running kernel: reboot into it, or --headers DIR" ;;
		esac
	fi
	rmmod firesteel
	say "Linux $release takes it: loaded and unloaded once"
}

why_not_tried() {
	if [ $try = no ]; then
		echo 'as asked'
	elif [ -n "$node" ]; then
		echo 'this is a container'
	elif [ "$release" != "$(uname -r)" ]; then
		echo "it is for another kernel than the running $(uname -r)"
	elif [ "$(id -u)" != 0 ]; then
		echo 'that takes root'
	else
		echo 'the running kernel has no loadable modules'
	fi
}

# --- the result --------------------------------------------------------------------------------------------------

sources_hash() {
	find "$tree/probes/kmod" -maxdepth 1 -name '*.[ch]' ! -name config.h ! -name '*.mod.c' -print0 | LC_ALL=C sort -z | xargs -0 cat -- \
		"$tree"/probes/kmod/{Kbuild,features.sh} "$tree"/probes/include/*.h | sha256sum | cut -d' ' -f1
}

# Each folder that is made is remembered, to be taken away if this fails.
make_folder() {
	local missing=() folder=$1
	while [ ! -d "$folder" ]; do
		missing=("$folder" "${missing[@]}")
		folder=$(dirname "$folder")
	done
	for folder in "${missing[@]}"; do
		mkdir -m 755 "$folder" 2>"$work/mkdir.log" || die "cannot make $folder: $(sed 's/.*: //' "$work/mkdir.log")" "run as root, mount it read-write, or --output DIR"
		made_folders+=("$folder")
	done
	touch "$1/.firesteel-try" 2>/dev/null || die "cannot write into $1" "run as root, mount it read-write, or --output DIR"
	rm -f "$1/.firesteel-try"
}

publish() { # <module> <folder>
	published=$2/.firesteel.ko.new
	install -m 644 "$1" "$published" || die "cannot write into $2" "is the disk full? --output DIR puts it elsewhere"
	mv -f "$published" "$2/firesteel.ko"
	published=''
	printf 'release %s\nsources %s\ncompiler %s\nsigned %s\n' "$release" "$hash" "$built_with" "${certificate:-no}" >"$2/built-from"
}

is_up_to_date() { # <folder>
	[ $force = no ] && [ -f "$1/firesteel.ko" ] && [ -f "$1/built-from" ] &&
		grep -qx "release $release" "$1/built-from" && grep -qx "sources $hash" "$1/built-from" &&
		grep -qx "signed ${certificate:-no}" "$1/built-from"
}

list() {
	local folder found
	say "kernels whose headers are here:"
	for folder in "$node"/lib/modules/*/build "$node"/usr/src/linux-headers-* "$node"/usr/src/kernels/*; do
		found=$(release_of "$folder" 2>/dev/null) && printf '%s\t%s\n' "$found" "$folder"
	done | sort -u -k1,1 || true
	say "modules that are built:"
	for folder in "$output"/*/*/; do
		[ -f "$folder/firesteel.ko" ] || continue
		found=${folder#"$output"/}
		printf '%s\tcontract %s\t%s\n' "${found%%/*}" "$(basename "$folder")" "$(sed -n 's/^compiler //p' "$folder/built-from" 2>/dev/null)"
	done
}

into_dkms() {
	local version folder options=()
	version=$(define_of "$tree/probes/kmod/interface.h" FS_KMOD_VERSION)
	folder=$node/usr/src/firesteel-$version
	[ -z "$node" ] || options=(--sourcetree "$node/usr/src")
	command -v dkms >/dev/null || die "there is no dkms" "apt-get install dkms, or leave --dkms out"
	if [ $dry = yes ]; then
		say "would copy the sources to $folder and have dkms build them for $release"
		return
	fi
	dkms remove "${options[@]}" -m firesteel -v "$version" --all >/dev/null 2>&1 || true
	rm -rf "$folder"
	mkdir -p "$folder/include"
	cp "$tree"/probes/kmod/{Kbuild,Makefile,features.sh,dkms.conf,dkms-modules.sh} "$tree"/probes/kmod/*.[ch] "$folder/"
	rm -f "$folder/config.h" "$folder"/*.mod.c
	cp "$tree"/probes/include/*.h "$folder/include/"
	if ! dkms install "${options[@]}" -m firesteel -v "$version" -k "$release" >"$work/dkms.log" 2>&1; then
		tail -n 15 "$work/dkms.log" | sed 's/^/    /' >&2
		dkms remove "${options[@]}" -m firesteel -v "$version" --all >/dev/null 2>&1 || true
		rm -rf "$folder"
		die "dkms could not build it for $release: see above" "the headers must be installed: apt-get install linux-headers-$release"
	fi
	say "dkms has it, and builds it again for each new kernel, into $node/var/lib/firesteel/modules"
}

into_image() {
	local engine='' name tag=$image-modules
	for name in docker podman nerdctl buildah; do
		if command -v $name >/dev/null; then engine=$name && break; fi
	done
	[ -n "$engine" ] || die "there is no container engine (docker, podman, nerdctl, buildah)" \
		"leave --image out: the agent also finds the module in $output, which its pod mounts"
	if [ $dry = yes ]; then
		say "would build $tag with $engine: $image and the modules of $output"
		return
	fi
	mkdir "$work/image"
	cp -r "$output" "$work/image/modules"
	# Not into /var/lib/firesteel/modules: over that the pod has the node's folder mounted.
	printf 'FROM %s\nCOPY --chown=0:0 modules /usr/share/firesteel/modules\n' "$image" >"$work/image/Dockerfile"
	say "building $tag with $engine"
	[ $engine != buildah ] || engine='buildah bud'
	# shellcheck disable=SC2086 # a word or two
	if ! $engine build -q -t "$tag" "$work/image" >"$work/image.log" 2>&1; then
		tail -n 10 "$work/image.log" | sed 's/^/    /' >&2
		die "$engine could not build $tag: see above" "is $image there? push or load it first"
	fi
	say "$tag has the modules of: $(cd "$output" && echo *)"
}

# --- all of it ---------------------------------------------------------------------------------------------------

parse "$@"
[ -n "$release" ] || release=$(uname -r)
[ -n "$output" ] || output=$node/var/lib/firesteel/modules
if [ $want_list = yes ]; then
	list
	exit 0
fi
case $release in
*/* | .* | *[!A-Za-z0-9._+~-]*) die "'$release' is no kernel release" "as uname -r names it: 5.10.0-46-amd64" ;;
esac
[ -d "$tree/probes/kmod" ] || die "the module's sources are not in $tree/probes/kmod" "run this script from its place in Firesteel's tree"
contract=$(awk '$1 == "#define" && $2 == "FS_CONTRACT_VERSION" {print $3}' "$tree/probes/include/event.h")
hash=$(sources_hash)
folder=$output/$release/$contract
built='' built_with=''

work=$(mktemp -d "${TMPDIR:-/tmp}/firesteel-module.XXXXXX") || die "cannot make a folder in ${TMPDIR:-/tmp}" "TMPDIR=<a folder that can be written>"
if is_up_to_date "$folder"; then
	say "$folder/firesteel.ko is there and up to date (--force builds it anyway)"
else
	for program in make ld strip; do
		command -v $program >/dev/null || die "there is no $program" "apt-get install make binutils, or dnf install make binutils"
	done
	[ $dry = yes ] || make_folder "$folder"
	find_headers
	say "headers: $headers"
	[ "$headers" = downloaded ] || check_signature
	build
	if [ $dry = yes ]; then
		say "would put the module into $folder"
	else
		grep -aq "vermagic=$release " "$built" || die "what was built is not for Linux $release: $(grep -ao 'vermagic=[^ ]*' "$built" | head -n 1)" "--headers with those of $release"
		strip --strip-debug "$built"
		sign "$built"
		try_loading "$built"
		publish "$built" "$folder"
		say "built: $folder/firesteel.ko ($(stat -c %s "$folder/firesteel.ko") bytes, $built_with)"
	fi
fi
[ $want_dkms = no ] || into_dkms
[ -z "$image" ] || into_image
