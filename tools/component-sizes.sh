#!/usr/bin/env bash
# What each component of builder-config.yaml adds to the binary: builds the
# distribution once as it is and once without each, and prints the difference in
# bytes and in Go modules. What two components share counts for neither.
# Takes about ten minutes on two cores; works on a copy.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git ls-files -z --cached --others --exclude-standard -- . ':!test' | xargs -0 cp --parents -t "$work"
cd "$work"

build() { # build MANIFEST: prints size and number of modules
	go tool -modfile=tools/go.mod builder --config "$1" --skip-get-modules --skip-compilation > builder.log 2>&1
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o otelcol ./cmd/otelcol-custom
	echo "$(stat -c %s otelcol) $(go version -m otelcol | grep -c $'^\tdep\t')"
}

read -r size modules < <(build builder-config.yaml)
printf '%-28s %6.1f MB  %4d modules\n' 'all components' "$((size / 10000))e-2" "$modules"
grep -nE '^  - gomod:' builder-config.yaml | grep -v '/provider/' | while IFS=: read -r line _ rest; do
	name=${rest##*/}
	extra='' # the import line of a component of our own goes with it
	if sed -n "$((line + 1))p" builder-config.yaml | grep -q '^    import:'; then
		name=$(sed -n "$((line + 1))s|.*/||p" builder-config.yaml)
		extra="$((line + 1))d;"
	fi
	sed "${extra}${line}d" builder-config.yaml > without.yaml
	read -r less fewer < <(build without.yaml)
	printf '%-28s %6.1f MB  %4d modules\n' "${name%% *}" "$(((size - less) / 10000))e-2" "$((modules - fewer))"
done
