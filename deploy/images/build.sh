#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# build.sh FOLDER: from sources to the root of the small image, in the repository. The same commands as everywhere (make build); what is
# built already is taken as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# = 1 ] || {
	echo 'usage: build.sh FOLDER (which must not be there yet)' >&2
	exit 2
}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1700000000)}
make build
PYTHONHASHSEED=0 .venv/bin/python -m deploy.images.assemble "$1"
