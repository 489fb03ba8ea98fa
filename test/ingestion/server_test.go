// SPDX-License-Identifier: Apache-2.0

package ingestion_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-custom/otelcol-custom/test/ingestion"
)

// valid holds the smallest envelope of each base type.
var valid = map[string]string{
	"RequestData":          `{"id":"1","duration":"00:00:01","responseCode":"200","success":true}`,
	"RemoteDependencyData": `{"name":"GET","duration":"1.02:03:04.0000005"}`,
	"ExceptionData":        `{"exceptions":[{"message":"broken"}]}`,
	"MessageData":          `{"message":"hello"}`,
	"MetricData":           `{"metrics":[{"name":"m","value":1.5}]}`,
	"EventData":            `{"name":"clicked"}`,
	"PageViewData":         `{"name":"home","url":"https://shop/"}`,
	"AvailabilityData":     `{"id":"1","name":"probe","duration":"00:00:00.1234567","success":true}`,
}

// envelope builds an envelope that is new and has the right key.
func envelope(baseType, baseData string) string {
	return fmt.Sprintf(`{"name":"Microsoft.ApplicationInsights.X","time":%q,"iKey":%q,"data":{"baseType":%q,"baseData":%s}}`,
		time.Now().UTC().Format(time.RFC3339Nano), ingestion.InstrumentationKey, baseType, baseData)
}

func message(text string) string { return envelope("MessageData", fmt.Sprintf(`{"message":%q}`, text)) }

func TestAcceptsEachBaseType(t *testing.T) {
	server := ingestion.Start(t)
	for baseType, baseData := range valid {
		status, response := post(t, server, envelope(baseType, baseData))
		assert.Equal(t, http.StatusOK, status, "%s: %v", baseType, response.Errors)
		assert.Equal(t, 1, response.ItemsAccepted)
	}
	assert.Len(t, server.Accepted(), len(valid))
	assert.Empty(t, server.Rejected())
}

func TestRefuses(t *testing.T) {
	long := func(n int) string { return strings.Repeat("é", n) } // two bytes each: characters are counted
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }
	request := func(field, value string) string {
		var data map[string]any
		require.NoError(t, json.Unmarshal([]byte(valid["RequestData"]), &data))
		data[field] = json.RawMessage(value)
		raw, err := json.Marshal(data)
		require.NoError(t, err)
		return envelope("RequestData", string(raw))
	}
	replaced := func(old, with string) string {
		e := message("hello")
		require.Contains(t, e, old)
		return strings.Replace(e, old, with, 1)
	}
	timed := func(value string) string {
		return fmt.Sprintf(`{"name":"X","time":%q,"iKey":%q,"data":{"baseType":"MessageData","baseData":{"message":"m"}}}`,
			value, ingestion.InstrumentationKey)
	}

	for name, c := range map[string]struct{ envelope, message string }{ // message "": accepted
		"empty response code":      {request("responseCode", `""`), "109: Field 'responseCode' on type 'RequestData' is required but missing or empty"},
		"no response code":         {request("responseCode", `null`), "109: Field 'responseCode'"},
		"response code a number":   {request("responseCode", `200`), "'responseCode' on type 'RequestData' must not be"},
		"no success":               {request("success", `null`), "109: Field 'success'"},
		"longest url":              {request("url", `"`+long(2048)+`"`), ""},
		"url too long":             {request("url", `"`+long(2049)+`"`), "field 'url' on type 'RequestData' is longer than 2048 characters"},
		"negative duration":        {request("duration", `"-00:00:01"`), "field 'duration'"},
		"duration of 1000 days":    {request("duration", `"1000.00:00:00"`), "field 'duration'"},
		"longest duration":         {request("duration", `"999.23:59:59.9999999"`), ""},
		"duration in nanoseconds":  {request("duration", `"00:00:00.123456789"`), "field 'duration'"},
		"25 hours":                 {request("duration", `"25:00:00"`), "field 'duration'"},
		"property a number":        {request("properties", `{"a":1}`), "field 'properties.a'"},
		"longest property":         {request("properties", `{"`+long(150)+`":"`+long(8192)+`"}`), ""},
		"property too long":        {request("properties", `{"a":"`+long(8193)+`"}`), "longer than 8192"},
		"property key too long":    {request("properties", `{"`+long(151)+`":""}`), "longer than 150"},
		"gen AI property":          {request("properties", `{"gen_ai.input.messages":"`+long(8193)+`"}`), ""},
		"measurement a text":       {request("measurements", `{"a":"1"}`), "field 'measurements.a'"},
		"unknown field":            {request("whatever", `1`), ""},
		"unknown base type":        {envelope("SpanData", `{}`), `'baseType' on type 'Data' is "SpanData"`},
		"empty message":            {message(""), "109: Field 'message' on type 'MessageData'"},
		"message too long":         {message(strings.Repeat("m", 32769)), "longer than 32768"},
		"item too large":           {message(long(32768)), "the item has"},
		"exception no message":     {envelope("ExceptionData", `{"exceptions":[{"typeName":"E"}]}`), "109: Field 'message' on type 'ExceptionDetails'"},
		"no exceptions":            {envelope("ExceptionData", `{"exceptions":[]}`), "109: Field 'exceptions'"},
		"frame line a text":        {envelope("ExceptionData", `{"exceptions":[{"message":"m","parsedStack":[{"line":"1"}]}]}`), "field 'line' on type 'StackFrame'"},
		"metric without value":     {envelope("MetricData", `{"metrics":[{"name":"m"}]}`), "109: Field 'value'"},
		"metric NaN":               {envelope("MetricData", `{"metrics":[{"name":"m","value":"NaN"}]}`), "field 'value' on type 'DataPoint'"},
		"metric's second point":    {envelope("MetricData", `{"metrics":[{"name":"m","value":1},{}]}`), ""},
		"metric count a fraction":  {envelope("MetricData", `{"metrics":[{"name":"m","value":1,"count":1.5}]}`), "field 'count'"},
		"metric kind by name":      {envelope("MetricData", `{"metrics":[{"name":"m","value":1,"kind":"Aggregation"}]}`), ""},
		"metric kind unknown":      {envelope("MetricData", `{"metrics":[{"name":"m","value":1,"kind":2}]}`), "field 'kind'"},
		"severity by name":         {envelope("MessageData", `{"message":"m","severityLevel":"Critical"}`), ""},
		"severity by number":       {envelope("MessageData", `{"message":"m","severityLevel":4}`), ""},
		"severity unknown":         {envelope("MessageData", `{"message":"m","severityLevel":5}`), "field 'severityLevel'"},
		"other key":                {replaced(ingestion.InstrumentationKey, "22222222-2222-4333-8444-555555555555"), "invalid instrumentation key"},
		"no key":                   {replaced(`"iKey"`, `"ikeyy"`), "109: Field 'iKey'"},
		"no name":                  {replaced("Microsoft.ApplicationInsights.X", ""), "109: Field 'name' on type 'Envelope'"},
		"tag a number":             {replaced(`"data"`, `"tags":{"ai.cloud.role":1},"data"`), "invalid JSON"},
		"tag too long":             {replaced(`"data"`, `"tags":{"ai.internal.sdkVersion":"`+long(65)+`"},"data"`), "'ai.internal.sdkVersion'"},
		"longest tag":              {replaced(`"data"`, `"tags":{"ai.internal.sdkVersion":"`+long(64)+`"},"data"`), ""},
		"unknown tag":              {replaced(`"data"`, `"tags":{"my.tag":"`+long(2000)+`"},"data"`), ""},
		"sample rate 0":            {replaced(`"data"`, `"sampleRate":0,"data"`), "'sampleRate'"},
		"47 hours old":             {timed(at(-47 * time.Hour)), ""},
		"49 hours old":             {timed(at(-49 * time.Hour)), "103: Field 'time' on type 'Envelope' is older than the allowed min date"},
		"1 hour ahead":             {timed(at(time.Hour)), ""},
		"3 hours ahead":            {timed(at(3 * time.Hour)), "'time' on type 'Envelope' is younger"},
		"time without a zone":      {timed("2026-01-02T03:04:05"), "not a date and time of ISO 8601"},
		"not JSON":                 {`{"name":`, "invalid JSON"},
		"two envelopes on a line":  {message("a") + message("b"), "something follows the envelope"},
		"not-a-number measurement": {envelope("EventData", `{"name":"e","measurements":{"a":NaN}}`), "invalid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			server := ingestion.Start(t)
			status, response := post(t, server, c.envelope)
			if c.message == "" {
				assert.Equal(t, http.StatusOK, status, "%v", response.Errors)
				return
			}
			require.Equal(t, http.StatusBadRequest, status)
			require.Len(t, response.Errors, 1)
			assert.Equal(t, http.StatusBadRequest, response.Errors[0].StatusCode)
			assert.Contains(t, response.Errors[0].Message, c.message)
			require.Len(t, server.Rejected(), 1)
			assert.Equal(t, response.Errors[0].Message, server.Rejected()[0].Message)
			assert.Empty(t, server.Accepted())
		})
	}
}

func TestBodies(t *testing.T) {
	a, b, bad := message("a"), message("b"), message("")
	compressed := new(bytes.Buffer)
	zw := gzip.NewWriter(compressed)
	_, err := io.WriteString(zw, a+"\n"+b)
	require.NoError(t, err)
	require.NoError(t, zw.Close())

	for name, c := range map[string]struct {
		body, path, encoding, authorization string
		status, received, accepted          int
		refused                             []int
	}{
		"array":                 {body: "[" + a + "," + b + "]", status: 200, received: 2, accepted: 2},
		"lines":                 {body: a + "\n" + b + "\n", status: 200, received: 2, accepted: 2},
		"gzip":                  {body: compressed.String(), encoding: "gzip", status: 200, received: 2, accepted: 2},
		"old path":              {body: a, path: "/v2/track", status: 200, received: 1, accepted: 1},
		"some refused":          {body: a + "\n" + bad + "\n" + b + "\n{", status: 206, received: 4, accepted: 2, refused: []int{1, 3}},
		"all refused":           {body: "[" + bad + "," + bad + "]", status: 400, received: 2, refused: []int{0, 1}},
		"broken array":          {body: "[" + a + ",", status: 400, refused: []int{0}},
		"empty":                 {status: 400, refused: []int{0}},
		"not gzip":              {body: a, encoding: "gzip", status: 400, refused: []int{0}},
		"deflate":               {body: a, encoding: "deflate", status: 400, refused: []int{0}},
		"other path":            {body: a, path: "/v3/track", status: 404, refused: []int{0}},
		"token on the old path": {body: a, path: "/v2/track", authorization: "Bearer x", status: 400, refused: []int{0}},
		"token":                 {body: a, authorization: "Bearer x", status: 200, received: 1, accepted: 1},
		"too many items":        {body: strings.Repeat("{}\n", 64_001), status: 400, refused: []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			server := ingestion.Start(t)
			if c.path == "" {
				c.path = "/v2.1/track"
			}
			header := http.Header{}
			header.Set("Content-Encoding", c.encoding)
			header.Set("Authorization", c.authorization)
			if c.encoding == "" {
				header.Del("Content-Encoding")
			}
			if c.authorization == "" {
				header.Del("Authorization")
			}
			status, response, err := send(t.Context(), server, c.path, header, c.body)
			require.NoError(t, err)
			var refused []int
			for _, e := range response.Errors {
				refused = append(refused, e.Index)
			}
			assert.Equal(t, c.status, status)
			assert.Equal(t, c.received, response.ItemsReceived)
			assert.Equal(t, c.accepted, response.ItemsAccepted)
			assert.Equal(t, c.refused, refused)
			assert.Len(t, server.Accepted(), c.accepted)
			assert.Equal(t, 1, server.Requests())
		})
	}
}

func TestEnvelope(t *testing.T) {
	server := ingestion.Start(t)
	post(t, server, envelope("RequestData", `{"id":"1","duration":"00:00:01","responseCode":"200","success":false,`+
		`"properties":{"k":"v"},"measurements":{"m":12345678901234567}}`))
	require.Len(t, server.Accepted(), 1)
	e := server.Accepted()[0]
	assert.Equal(t, "200", e.Text("responseCode"))
	assert.Equal(t, "false", e.Text("success"))
	assert.Empty(t, e.Text("url"))
	assert.Equal(t, map[string]string{"k": "v"}, e.Properties())
	assert.Equal(t, "map[m:12345678901234567]", e.Text("measurements"))
}

func TestScript(t *testing.T) {
	a, b := message("a"), message("b")

	t.Run("status", func(t *testing.T) {
		server := ingestion.Start(t)
		server.Always(&ingestion.Answer{Status: http.StatusServiceUnavailable})
		server.Next(ingestion.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"7"}}, Body: "{}"})
		for _, want := range []int{429, 503, 503} {
			status, _ := post(t, server, a)
			assert.Equal(t, want, status)
		}
		server.Always(nil)
		status, _ := post(t, server, a)
		assert.Equal(t, http.StatusOK, status)
		assert.Len(t, server.Accepted(), 1)
		assert.Equal(t, 4, server.Requests())
	})

	t.Run("items refused", func(t *testing.T) {
		server := ingestion.Start(t)
		server.Next(ingestion.Answer{Refuse: func(i int, _ *ingestion.Envelope) ingestion.ItemError {
			if i == 1 {
				return ingestion.ItemError{StatusCode: 503, Message: "later"}
			}
			return ingestion.ItemError{}
		}})
		status, response := post(t, server, a+"\n"+b)
		assert.Equal(t, http.StatusPartialContent, status)
		assert.Equal(t, []ingestion.ItemError{{Index: 1, StatusCode: 503, Message: "later"}}, response.Errors)
		assert.Len(t, server.Accepted(), 1)
		assert.Empty(t, server.Rejected())
	})

	for name, c := range map[string]struct {
		fault    ingestion.Fault
		accepted int
	}{
		"reset":       {ingestion.Reset, 0},
		"lost answer": {ingestion.LoseAnswer, 1},
		"cut answer":  {ingestion.CutAnswer, 1},
	} {
		t.Run(name, func(t *testing.T) {
			server := ingestion.Start(t)
			server.Next(ingestion.Answer{Fault: c.fault})
			_, _, err := send(t.Context(), server, "/v2.1/track", nil, a)
			require.Error(t, err)
			assert.Len(t, server.Accepted(), c.accepted)
			status, _ := post(t, server, a)
			assert.Equal(t, http.StatusOK, status)
		})
	}

	t.Run("hang until the client goes", func(t *testing.T) {
		server := ingestion.Start(t)
		server.Next(ingestion.Answer{Fault: ingestion.Hang})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, _, err := send(ctx, server, "/v2.1/track", nil, a)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Empty(t, server.Accepted())
	})

	t.Run("hang until the server goes", func(t *testing.T) {
		server := ingestion.Start(t)
		server.Next(ingestion.Answer{Fault: ingestion.Hang})
		failed := make(chan error)
		go func() {
			_, _, err := send(context.Background(), server, "/v2.1/track", nil, a)
			failed <- err
		}()
		require.Eventually(t, func() bool { return server.Requests() == 1 }, 10*time.Second, time.Millisecond)
		server.Stop()
		require.Error(t, <-failed)
	})
}

func TestDownAndUpAgain(t *testing.T) {
	server := ingestion.Start(t)
	post(t, server, message("a"))
	connection := server.ConnectionString()
	server.Stop()
	_, _, err := send(t.Context(), server, "/v2.1/track", nil, message("b"))
	require.Error(t, err)
	server.Start(t)
	post(t, server, message("c"))
	assert.Equal(t, connection, server.ConnectionString())
	assert.Len(t, server.Accepted(), 2)
}

func TestCountOnly(t *testing.T) {
	server := ingestion.New("127.0.0.1:0", true)
	server.Start(t)
	for range 2 {
		post(t, server, envelope("RequestData", valid["RequestData"]))
	}
	assert.Equal(t, map[string]int{"1": 2}, server.IDs())
	assert.Empty(t, server.Accepted())
}

func post(t *testing.T, server *ingestion.Server, body string) (int, ingestion.Response) {
	t.Helper()
	status, response, err := send(t.Context(), server, "/v2.1/track", nil, body)
	require.NoError(t, err)
	return status, response
}

func send(ctx context.Context, server *ingestion.Server, path string, header http.Header, body string) (int, ingestion.Response, error) {
	var response ingestion.Response
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+server.Address+path, strings.NewReader(body))
	if err != nil {
		return 0, response, err
	}
	if header != nil {
		req.Header = header
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, response, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, response, err
	}
	if err := json.Unmarshal(raw, &response); err != nil && len(raw) > 0 {
		return 0, response, errors.New("not JSON: " + string(raw))
	}
	return resp.StatusCode, response, nil
}
