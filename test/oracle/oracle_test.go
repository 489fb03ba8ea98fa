// SPDX-License-Identifier: Apache-2.0

//go:build oracle

package oracle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-custom/otelcol-custom/test/harness"
	"github.com/otelcol-custom/otelcol-custom/test/harness/collector"
	"github.com/otelcol-custom/otelcol-custom/test/harness/telemetry"
	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// span is one span as both sides get it; the JSON is for the scripts.
type span struct {
	Case       string         `json:"-"`
	Name       string         `json:"name"`
	Kind       int            `json:"kind"` // internal, server, client, producer, consumer
	TraceID    string         `json:"traceId"`
	SpanID     string         `json:"spanId"`
	ParentID   string         `json:"parentSpanId"`
	Start      string         `json:"start"`
	End        string         `json:"end"`
	Status     status         `json:"status"`
	Attributes map[string]any `json:"attributes"`
	Links      []link         `json:"links"`
	Events     []event        `json:"events"`
	Resource   map[string]any `json:"resource"`
	start      time.Time
}

type status struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type link struct {
	TraceID    string         `json:"traceId"`
	SpanID     string         `json:"spanId"`
	Attributes map[string]any `json:"attributes"`
}

type event struct {
	Name       string         `json:"name"`
	Time       string         `json:"time"`
	Attributes map[string]any `json:"attributes"`
}

const took = 1500 * time.Millisecond

// spans makes the shared set: every case of the exporter's mapping tables, in each of its conventions, that JSON
// can carry and that OpenTelemetry's SDKs can make.
func spans(t *testing.T) []span {
	t.Helper()
	kinds := map[string]int{"internal": 0, "server": 1, "client": 2, "producer": 3, "consumer": 4}
	codes := map[string]int{"": 0, "ok": 1, "error": 2}
	start := time.Now().Add(-time.Minute).Truncate(time.Second)
	var out []span
	for _, file := range []string{"requests", "dependencies", "tags", "properties", "resource", "events"} {
		data, err := os.ReadFile(filepath.Join(harness.Root(t), "exporter", "applicationinsightsexporter", "testdata", "mapping", file+".yaml"))
		require.NoError(t, err)
		var cases []struct {
			Name, Kind, Span, Status, Message, TraceState string
			Parent                                        bool
			Resource, Attributes, New, Old                map[string]any
			Links                                         []map[string]any
			Event                                         *struct {
				Name       string
				Attributes map[string]any
			}
		}
		require.NoError(t, yaml.NewDecoder(bytes.NewReader(data)).Decode(&cases))
		for _, c := range cases {
			kind, ok := kinds[c.Kind]
			if !ok || c.TraceState != "" {
				continue
			}
			variants := map[string]map[string]any{"": {}}
			if c.New != nil || c.Old != nil {
				variants = map[string]map[string]any{}
			}
			if c.New != nil {
				variants[" (new)"] = c.New
			}
			if c.Old != nil {
				variants[" (old)"] = c.Old
			}
			for _, name := range slices.Sorted(maps.Keys(variants)) {
				n := uint64(len(out) + 1)
				s := span{
					Case: file + ": " + c.Name + name, Name: c.Span, Kind: kind, TraceID: hexID(n, n), SpanID: hexID(1<<32 | n),
					Start: nanos(start), End: nanos(start.Add(took)), Status: status{codes[c.Status], c.Message},
					Attributes: plain(start, c.Attributes, variants[name]), Resource: plain(start, c.Resource),
					Links: []link{}, Events: []event{}, start: start,
				}
				if c.Parent {
					s.ParentID = hexID(2<<32 | n)
				}
				for i, attrs := range c.Links {
					s.Links = append(s.Links, link{hexID(3, uint64(i+1)), hexID(uint64(i + 1)), plain(start, attrs)})
				}
				if c.Event != nil {
					s.Events = append(s.Events, event{c.Event.Name, nanos(start.Add(time.Second)), plain(start, c.Event.Attributes)})
				}
				out = append(out, s)
			}
		}
	}
	require.GreaterOrEqual(t, len(out), 60)
	return out
}

// plain puts attributes together as JSON has them, without what JSON has not.
func plain(start time.Time, sets ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, set := range sets {
		for k, v := range set {
			switch v := v.(type) {
			case nil:
			case float64:
				if !math.IsNaN(v) && !math.IsInf(v, 0) {
					out[k] = v
				}
			case []any:
				if _, err := json.Marshal(v); err == nil {
					out[k] = v
				}
			case map[string]any:
				out[k] = plain(start, v)
			case string:
				out[k] = v
				if rest, ok := strings.CutPrefix(v, "$start_"); ok {
					unit, less, _ := strings.Cut(rest, "-")
					n, _ := strconv.ParseFloat(less, 64)
					out[k] = float64(start.UnixNano())/map[string]float64{"ms": 1e6, "s": 1e9}[unit] - n
				}
			default:
				out[k] = v
			}
		}
	}
	return out
}

func hexID(words ...uint64) string {
	var b []byte
	for _, w := range words {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return hex.EncodeToString(b)
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func (s *span) traces(t *testing.T) ptrace.Traces {
	t.Helper()
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	require.NoError(t, rs.Resource().Attributes().FromRaw(s.Resource))
	out := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	out.SetName(s.Name)
	out.SetKind(ptrace.SpanKind(s.Kind + 1))
	out.SetTraceID(traceID(t, s.TraceID))
	out.SetSpanID(spanID(t, s.SpanID))
	if s.ParentID != "" {
		out.SetParentSpanID(spanID(t, s.ParentID))
	}
	out.SetStartTimestamp(pcommon.NewTimestampFromTime(s.start))
	out.SetEndTimestamp(pcommon.NewTimestampFromTime(s.start.Add(took)))
	out.Status().SetCode(ptrace.StatusCode(s.Status.Code))
	out.Status().SetMessage(s.Status.Message)
	require.NoError(t, out.Attributes().FromRaw(s.Attributes))
	for _, l := range s.Links {
		to := out.Links().AppendEmpty()
		to.SetTraceID(traceID(t, l.TraceID))
		to.SetSpanID(spanID(t, l.SpanID))
		require.NoError(t, to.Attributes().FromRaw(l.Attributes))
	}
	for _, e := range s.Events {
		to := out.Events().AppendEmpty()
		to.SetName(e.Name)
		to.SetTimestamp(pcommon.NewTimestampFromTime(s.start.Add(time.Second)))
		require.NoError(t, to.Attributes().FromRaw(e.Attributes))
	}
	return td
}

func traceID(t *testing.T, s string) pcommon.TraceID {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return pcommon.TraceID(b)
}

func spanID(t *testing.T, s string) pcommon.SpanID {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return pcommon.SpanID(b)
}

// ours sends the spans through the built binary and returns what arrived.
func ours(t *testing.T, all []span) []*ingestion.Envelope {
	t.Helper()
	server := ingestion.Start(t)
	c := collector.Start(t, collector.Config{
		Files: []string{"sidecar.yaml", filepath.Join("backend", "azure.yaml")},
		// Microsoft's exporters copy neither the resource nor what has a field of its own; that difference is
		// one of configuration. Of span events they send all.
		Overlay: "exporters::applicationinsights::properties: {resource: false, consumed: false}\nexporters::applicationinsights::span_events: all",
		Env: map[string]string{
			"APPLICATIONINSIGHTS_CONNECTION_STRING": server.ConnectionString(),
			"OTELCOL_QUEUE_DIRECTORY":               filepath.Join(t.TempDir(), "queue"),
		},
	})
	client := telemetry.Dial(t, telemetry.Sender{Protocol: telemetry.GRPC}, c)
	want := 0
	for i := range all {
		want += 1 + len(all[i].Events)
		require.NoError(t, client.Traces(t.Context(), all[i].traces(t)))
	}
	harness.Await(t, "our envelopes", func() error {
		if n := len(server.Accepted()); n != want {
			return fmt.Errorf("%d of %d; refused: %v", n, want, server.Rejected())
		}
		return nil
	})
	return server.Accepted()
}

// theirs runs a script with the spans and returns what arrived. Theirs may send what the stand-in refuses, which
// is why it is not asked for everything.
func theirs(t *testing.T, all []span, command []string, dir string, overTLS bool) []*ingestion.Envelope {
	t.Helper()
	server := ingestion.Start(t)
	env := append(os.Environ(), "APPLICATIONINSIGHTS_STATSBEAT_DISABLED=true", "APPLICATION_INSIGHTS_NO_STATSBEAT=true",
		"APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL=true", "APPLICATIONINSIGHTS_SDKSTATS_DISABLED=true",
		"APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED=true")
	front := httptest.NewUnstartedServer(lenient(server))
	if overTLS { // the one for Node.js takes no other
		front.StartTLS()
	} else {
		front.Start()
	}
	t.Cleanup(front.Close)
	connection := "InstrumentationKey=" + ingestion.InstrumentationKey + ";IngestionEndpoint=" + front.URL
	if overTLS {
		ca := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o600))
		env = append(env, "NODE_EXTRA_CA_CERTS="+ca)
	}
	input, err := json.Marshal(map[string]any{"connectionString": connection, "spans": all})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = env
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, r := range server.Rejected() {
		t.Logf("the stand-in refuses: %s: %s", r.Message, r.Raw)
	}
	return server.Accepted()
}

// lenient tells the client that all is well, so that it does not keep sending what is refused.
func lenient(server *ingestion.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		server.ServeHTTP(rec, r)
		_, _ = fmt.Fprint(w, `{"itemsReceived":1,"itemsAccepted":1,"errors":[]}`)
	})
}

// flat is an envelope as a list of names and texts to compare.
func flat(t *testing.T, e *ingestion.Envelope) map[string]string {
	t.Helper()
	out := map[string]string{"envelope.name": e.Name, "baseType": e.Data.BaseType, "sampleRate": "100"}
	if e.SampleRate != nil {
		out["sampleRate"] = strconv.FormatFloat(*e.SampleRate, 'f', -1, 64)
	}
	at, err := time.Parse(time.RFC3339Nano, e.Time)
	require.NoError(t, err)
	out["time"] = at.UTC().Format(time.RFC3339Nano)
	for k, v := range e.Tags {
		// Which SDK it was, and on which machine.
		if v != "" && k != "ai.internal.sdkVersion" && k != "ai.internal.nodeName" {
			out["tags."+k] = v
		}
	}
	for k, v := range e.Data.BaseData {
		switch k {
		case "ver", "properties":
		case "measurements":
			m, _ := v.(map[string]any)
			for name, n := range m {
				f, err := n.(json.Number).Float64()
				require.NoError(t, err)
				out["measurements."+name] = strconv.FormatFloat(f, 'f', 2, 64)
			}
		case "duration":
			out[k] = seconds(t, fmt.Sprint(v))
		case "exceptions":
			for name, detail := range v.([]any)[0].(map[string]any) {
				out["exceptions."+name] = fmt.Sprint(detail)
			}
		default:
			if v != nil {
				out[k] = fmt.Sprint(v)
			}
		}
	}
	for k, v := range e.Properties() {
		out["properties."+k] = v
	}
	maps.DeleteFunc(out, func(_, v string) bool { return v == "" })
	return out
}

// seconds reads [D.]HH:MM:SS[.f].
func seconds(t *testing.T, s string) string {
	t.Helper()
	parts := strings.Split(s, ":")
	require.Len(t, parts, 3, s)
	days := 0.0
	if d, h, ok := strings.Cut(parts[0], "."); ok {
		days, _ = strconv.ParseFloat(d, 64)
		parts[0] = h
	}
	h, _ := strconv.ParseFloat(parts[0], 64)
	m, _ := strconv.ParseFloat(parts[1], 64)
	sec, err := strconv.ParseFloat(parts[2], 64)
	require.NoError(t, err)
	return strconv.FormatFloat(days*86400+h*3600+m*60+sec, 'f', 6, 64)
}

// byItem sorts envelopes by what they are of: a span, or its event.
func byItem(envelopes []*ingestion.Envelope) map[string]*ingestion.Envelope {
	out := map[string]*ingestion.Envelope{}
	for _, e := range envelopes {
		if id := e.Text("id"); id != "" {
			out["span "+id] = e
		} else if e.Tags["ai.operation.id"] != "" {
			out["event of "+e.Tags["ai.operation.parentId"]] = e
		}
	}
	return out
}

func compare(t *testing.T, exporter string, all []span, our, their []*ingestion.Envelope) (differences []string) {
	t.Helper()
	a, b := byItem(our), byItem(their)
	compared := 0
	for i := range all {
		for _, item := range []string{"span " + all[i].SpanID, "event of " + all[i].SpanID} {
			x, y := a[item], b[item]
			if x == nil && y == nil {
				continue
			}
			compared++
			left, right := map[string]string{}, map[string]string{}
			if x != nil {
				left = flat(t, x)
			}
			if y != nil {
				right = flat(t, y)
			}
			d := difference{exporter: exporter, span: &all[i]}
			if x == nil || y == nil {
				d.field, d.ours, d.theirs = "(the item)", strconv.FormatBool(x != nil), strconv.FormatBool(y != nil)
				differences = append(differences, d.judge(t)...)
				continue
			}
			fields := maps.Clone(left)
			maps.Copy(fields, right)
			for _, field := range slices.Sorted(maps.Keys(fields)) {
				if left[field] == right[field] || sameJSON(left[field], right[field]) {
					continue
				}
				d.field, d.ours, d.theirs = field, left[field], right[field]
				differences = append(differences, d.judge(t)...)
			}
		}
	}
	require.GreaterOrEqual(t, compared, len(all), "every span is compared, and every event")
	t.Logf("%d items of %d spans compared with %s, %d differences", compared, len(all), exporter, len(differences))
	return differences
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && assert.ObjectsAreEqual(x, y)
}

// difference is one field that is not the same.
type difference struct {
	exporter     string // node or python
	span         *span
	field        string
	ours, theirs string
}

// judge returns the difference as a line of differences.txt, and fails when there is no reason for it. What each
// machine has of its own is no line.
func (d *difference) judge(t *testing.T) []string {
	t.Helper()
	for i := range accepted {
		if accepted[i].applies(d) {
			accepted[i].seen++
			if accepted[i].id == ownHost {
				return nil
			}
			return []string{d.line(accepted[i].id)}
		}
	}
	t.Errorf("%s: %s: %s\n   ours: %q\n theirs: %q\n attributes: %v", d.exporter, d.span.Case, d.field, d.ours, d.theirs, d.span.Attributes)
	return []string{d.line("(no reason)")}
}

func (d *difference) line(reason string) string {
	return strings.Join([]string{d.exporter, d.span.Case, d.field, timeless(d.span, d.ours), timeless(d.span, d.theirs), reason}, " | ")
}

// timeless puts a name in the place of instants, which tests must have close to now.
func timeless(s *span, text string) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond} {
		text = strings.ReplaceAll(text, strconv.FormatInt((s.start.UnixNano()-int64(2*time.Second))/int64(unit), 10), "(2 s before)")
	}
	return strconv.Quote(text)
}

func TestBesideMicrosoft(t *testing.T) {
	all := spans(t)
	our := ours(t, all)
	var differences []string
	t.Run("node", func(t *testing.T) {
		dir := install(t, "node", []string{"package.json", "package-lock.json", "export.mjs"}, func(dir string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--prefix", dir)
		})
		differences = append(differences, compare(t, "node", all, our, theirs(t, all, []string{"node", "export.mjs"}, dir, true))...)
	})
	t.Run("python", func(t *testing.T) {
		dir := install(t, "python", []string{"requirements.txt", "export.py"}, func(dir string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "sh", "-c", `python3 -m venv "$0/venv" && "$0/venv/bin/pip" install --quiet --disable-pip-version-check -r "$0/requirements.txt"`, dir)
		})
		differences = append(differences, compare(t, "python", all, our, theirs(t, all, []string{filepath.Join(dir, "venv", "bin", "python"), "export.py"}, dir, false))...)
	})
	sameDifferences(t, differences)
	docs, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "applicationinsights-mapping.md"))
	require.NoError(t, err)
	for _, a := range accepted {
		assert.Positive(t, a.seen, "the difference %q is accepted and does not occur", a.id)
		assert.Contains(t, string(docs), "`"+a.id+"`", "the difference is not in the documentation")
	}
}

// sameDifferences compares with differences.txt, so that a reason is no cover for a difference that nobody has
// looked at. $ORACLE_WRITE writes the file anew, to be read before it is committed.
func sameDifferences(t *testing.T, got []string) {
	t.Helper()
	const file = "differences.txt"
	const head = "# exporter | case | field | ours | theirs | reason in docs/applicationinsights-mapping.md\n"
	slices.Sort(got)
	if os.Getenv("ORACLE_WRITE") != "" {
		require.NoError(t, os.WriteFile(file, []byte(head+strings.Join(got, "\n")+"\n"), 0o644))
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	want := strings.Split(strings.TrimSpace(strings.TrimPrefix(string(data), head)), "\n")
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("not in %s: %s", file, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("in %s, and does not occur: %s", file, line)
		}
	}
}

// install copies a script and what it needs to know into a folder of the user's cache that is named by their
// content, and installs its dependencies there once.
func install(t *testing.T, name string, files []string, command func(dir string) *exec.Cmd) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	sum := sha256.New()
	contents := map[string][]byte{}
	for _, file := range files {
		contents[file], err = os.ReadFile(filepath.Join(name, file))
		require.NoError(t, err)
		_, _ = sum.Write(contents[file])
	}
	dir := filepath.Join(cache, "otelcol-custom", fmt.Sprintf("oracle-%s-%x", name, sum.Sum(nil)[:6]))
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for file, data := range contents {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), data, 0o600))
	}
	out, err := command(dir).CombinedOutput()
	require.NoError(t, err, "install what the %s script needs: %s", name, out)
	require.NoError(t, os.WriteFile(done, nil, 0o600))
	return dir
}
