#!/usr/bin/env bash
# Size, start-up time and idle memory of collector binaries, the same config for each:
#
#   tools/footprint.sh bin/otelcol-custom OTHER/otelcol
#
# Start-up is from exec to the health check taking connections, the median of
# seven; memory is the resident set three seconds after that, the median of seven. The config holds what every
# distribution has: OTLP in, memory_limiter, debug out.
set -euo pipefail

config=$(mktemp)
trap 'rm -f "$config"' EXIT
cat > "$config" <<'YAML'
receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:0"}, http: {endpoint: "127.0.0.1:0"}}}}
processors: {memory_limiter: {check_interval: 1s, limit_mib: 512}}
exporters: {debug: {}}
extensions: {health_check: {endpoint: "127.0.0.1:23133"}}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}, logs: {level: error}}
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter], exporters: [debug]}
YAML

printf '%-36s %9s %12s %10s\n' binary size start-up memory
for bin in "$@"; do
	times=() sets=()
	for _ in 1 2 3 4 5 6 7; do
		begin=$(date +%s%N)
		"$bin" --config "$config" > /dev/null 2>&1 &
		pid=$!
		until (exec 3<> /dev/tcp/127.0.0.1/23133) 2> /dev/null; do
			kill -0 "$pid" 2> /dev/null || { echo "$bin ended instead of starting"; exit 1; }
			sleep 0.002
		done
		times+=($((($(date +%s%N) - begin) / 1000000)))
		sleep 3
		sets+=("$(awk '/^VmRSS/ {print $2}' "/proc/$pid/status")")
		kill "$pid"
		wait "$pid" || true
	done
	median=$(printf '%s\n' "${times[@]}" | sort -n | sed -n 4p)
	rss=$(printf '%s\n' "${sets[@]}" | sort -n | sed -n 4p)
	printf '%-36s %6d MB %9d ms %7d MB\n' "${bin##*/}" $(($(stat -c %s "$bin") / 1000000)) "$median" $((rss / 1000))
done
