#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes the pages, and the chart's schema, that come out of the code's own tables; with --check, changes nothing and fails if one is stale.
# One row per page: the page, then the module that prints it, or writes it to {}.
set -euo pipefail
cd "$(dirname "$0")/.."

pages='
docs/config.md collector.schema
docs/commands.md collector.cli_page
docs/metrics.md exporters.registry {}
deploy/helm/firesteel/values.schema.json scripts.values_schema
'
check=no
[ "${1:-}" != --check ] || check=yes
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
stale=0
while read -r page module target; do
	[ -n "$page" ] || continue
	.venv/bin/python -m "$module" ${target:+"$fresh/page"} >"$fresh/printed"
	[ -n "$target" ] || mv "$fresh/printed" "$fresh/page"
	if [ $check = no ]; then
		cmp -s "$fresh/page" "$page" || { cp "$fresh/page" "$page" && echo "wrote $page"; }
	elif ! diff -u "$page" "$fresh/page"; then
		echo "$page is not what $module says: make docs" >&2
		stale=1
	fi
done <<<"$pages"
[ $stale = 0 ] || exit 1
[ $check = no ] || echo "docs: every generated page is current"
