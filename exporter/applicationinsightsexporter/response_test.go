// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The table of the specification, for a whole request and for an item of one.
func TestFateOfStatus(t *testing.T) {
	for status, want := range map[int]fate{
		301: fateAgain, 307: fateAgain, 308: fateAgain,
		400: fateRefused, 401: fateAgain, 402: fateRefused, 403: fateAgain, 404: fateRefused, 405: fateRefused,
		408: fateAgain, 413: fateRefused, 418: fateRefused, 429: fateAgain, 439: fateRefused,
		500: fateAgain, 501: fateAgain, 502: fateAgain, 503: fateAgain, 504: fateAgain, 599: fateAgain,
	} {
		assert.Equal(t, want, fateOf(status, false), "%d", status)
	}
	assert.Equal(t, fateAgain, fateOf(402, true))
	assert.Equal(t, fateAgain, fateOf(439, true))
	assert.Equal(t, fateRefused, fateOf(400, true))
}

func TestJudge(t *testing.T) {
	const sampled = `{"index":1,"statusCode":206,"message":"Telemetry Sampled Out."}`
	for _, tt := range []struct {
		name   string
		answer answer
		n      int
		cap    bool
		want   verdict
	}{
		{
			name: "all accepted", n: 2,
			answer: answer{status: 200, body: []byte(`{"itemsReceived":2,"itemsAccepted":2,"appId":null,"errors":[]}`)},
			want:   verdict{outcome: outcomeAccepted, perItem: true},
		},
		{
			name: "all accepted, no body", n: 2,
			answer: answer{status: 200},
			want:   verdict{outcome: outcomeAccepted, all: fateAccepted},
		},
		{
			name: "200 with a page of HTML is not ingestion", n: 2,
			answer: answer{status: 200, body: []byte("<html>Sign in</html>")},
			want:   verdict{outcome: outcomeUnreadable, all: fateAgain, doubtful: true, message: "the answer is not ingestion's JSON"},
		},
		{
			name: "200 with JSON of something else", n: 2,
			answer: answer{status: 200, body: []byte(`{"ok":true}`)},
			want:   verdict{outcome: outcomeUnreadable, all: fateAgain, doubtful: true, message: "the answer is not ingestion's JSON"},
		},
		{
			name: "200 that breaks off", n: 2,
			answer: answer{status: 200, body: []byte(`{"itemsReceived":2`), broken: errors.New("unexpected EOF")},
			want:   verdict{outcome: outcomeUnreadable, all: fateAgain, doubtful: true, message: "the answer broke off"},
		},
		{
			name: "200 that breaks off before its body", n: 2,
			answer: answer{status: 200, broken: errors.New("unexpected EOF")},
			want:   verdict{outcome: outcomeUnreadable, all: fateAgain, doubtful: true, message: "the answer broke off"},
		},
		{
			name: "fewer received than sent", n: 2,
			answer: answer{status: 200, body: []byte(`{"itemsReceived":1,"itemsAccepted":1,"errors":[]}`)},
			want: verdict{
				outcome: outcomeUnreadable, all: fateAgain, doubtful: true,
				message: "the answer does not add up: 2 sent, 1 received, 1 accepted, 0 listed",
			},
		},
		{
			name: "more received than sent", n: 2,
			answer: answer{status: 200, body: []byte(`{"itemsReceived":3,"itemsAccepted":2,"errors":[]}`)},
			want: verdict{
				outcome: outcomeUnreadable, all: fateAgain, doubtful: true,
				message: "the answer does not add up: 2 sent, 3 received, 2 accepted, 0 listed",
			},
		},
		{
			name: "fewer accepted than received and none listed", n: 2,
			answer: answer{status: 206, body: []byte(`{"itemsReceived":2,"itemsAccepted":1,"errors":[]}`)},
			want: verdict{
				outcome: outcomeUnreadable, all: fateAgain, doubtful: true,
				message: "the answer does not add up: 2 sent, 2 received, 1 accepted, 0 listed",
			},
		},
		{
			name: "an item that was never sent", n: 2,
			answer: answer{status: 206, body: []byte(`{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":2,"statusCode":400,"message":"x"}]}`)},
			want: verdict{
				outcome: outcomeUnreadable, all: fateAgain, doubtful: true,
				message: "the answer does not add up: 2 sent, 2 received, 1 accepted, 1 listed",
			},
		},
		{
			name: "one item twice", n: 2,
			answer: answer{status: 206, body: []byte(`{"itemsReceived":2,"itemsAccepted":0,"errors":[{"index":1,"statusCode":400},{"index":1,"statusCode":400}]}`)},
			want: verdict{
				outcome: outcomeUnreadable, all: fateAgain, doubtful: true,
				message: "the answer does not add up: 2 sent, 2 received, 0 accepted, 2 listed",
			},
		},
		{
			name: "206 without a body", n: 2,
			answer: answer{status: 206},
			want:   verdict{outcome: outcomeUnreadable, all: fateAgain, doubtful: true, message: "the answer is empty"},
		},
		{
			name: "part refused, part put off", n: 4,
			answer: answer{status: 206, body: []byte(`{"itemsReceived":4,"itemsAccepted":1,"errors":[` +
				`{"index":3,"statusCode":500,"message":"later"},{"index":0,"statusCode":400,"message":"bad"},{"index":1,"statusCode":429,"message":"slow"}]}`)},
			want: verdict{outcome: outcomePartial, perItem: true, again: []int{1, 3}, refused: []refusal{{0, 400, "bad"}}, message: "later"},
		},
		{
			name: "sampled out, not counted as accepted", n: 2,
			answer: answer{status: 206, body: []byte(`{"itemsReceived":2,"itemsAccepted":1,"errors":[` + sampled + `]}`)},
			want:   verdict{outcome: outcomeAccepted, perItem: true, refused: []refusal{{1, 206, "Telemetry Sampled Out."}}, message: "Telemetry Sampled Out."},
		},
		{
			name: "sampled out, counted as accepted", n: 2,
			answer: answer{status: 200, body: []byte(`{"itemsReceived":2,"itemsAccepted":2,"errors":[` + sampled + `]}`)},
			want:   verdict{outcome: outcomeAccepted, perItem: true, refused: []refusal{{1, 206, "Telemetry Sampled Out."}}, message: "Telemetry Sampled Out."},
		},
		{
			name: "400 for mixed reasons", n: 2,
			answer: answer{status: 400, body: []byte(`{"itemsReceived":2,"itemsAccepted":0,"errors":[{"index":0,"statusCode":400,"message":"bad"},{"index":1,"statusCode":503,"message":"later"}]}`)},
			want:   verdict{outcome: outcomePartial, perItem: true, again: []int{1}, refused: []refusal{{0, 400, "bad"}}, message: "bad"},
		},
		{
			name: "400 for all", n: 1,
			answer: answer{status: 400, body: []byte(`{"itemsReceived":1,"itemsAccepted":0,"errors":[{"index":0,"statusCode":400,"message":"bad"}]}`)},
			want:   verdict{outcome: outcomeRefused, perItem: true, refused: []refusal{{0, 400, "bad"}}, message: "bad"},
		},
		{
			name: "400 without a word on the items", n: 2,
			answer: answer{status: 400, body: []byte("Bad Request")},
			want:   verdict{outcome: outcomeRefused, all: fateRefused, split: true},
		},
		{
			name: "400 without a word on the only item", n: 1,
			answer: answer{status: 400},
			want:   verdict{outcome: outcomeRefused, all: fateRefused},
		},
		{
			name: "401", n: 2,
			answer: answer{status: 401},
			want:   verdict{outcome: outcomeAgain, all: fateAgain},
		},
		{
			name: "402 drops", n: 2,
			answer: answer{status: 402},
			want:   verdict{outcome: outcomeRefused, all: fateRefused},
		},
		{
			name: "402 that says how long it lasts", n: 2,
			answer: answer{status: 402, wait: time.Minute},
			want:   verdict{outcome: outcomeThrottled, all: fateAgain},
		},
		{
			name: "402 that is waited for", n: 2, cap: true,
			answer: answer{status: 402},
			want:   verdict{outcome: outcomeThrottled, all: fateAgain},
		},
		{
			name: "439 for an item that says how long it lasts", n: 2,
			answer: answer{status: 206, wait: time.Minute, body: []byte(`{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":0,"statusCode":439,"message":"cap"}]}`)},
			want:   verdict{outcome: outcomePartial, perItem: true, again: []int{0}, message: "cap"},
		},
		{
			name: "439 for an item", n: 2,
			answer: answer{status: 206, body: []byte(`{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":0,"statusCode":439,"message":"cap"}]}`)},
			want:   verdict{outcome: outcomePartial, perItem: true, refused: []refusal{{0, 439, "cap"}}, message: "cap"},
		},
		{
			name: "413", n: 2,
			answer: answer{status: 413},
			want:   verdict{outcome: outcomeTooLarge, all: fateRefused, split: true},
		},
		{
			name: "413 for one item", n: 1,
			answer: answer{status: 413},
			want:   verdict{outcome: outcomeTooLarge, all: fateRefused},
		},
		{
			name: "429", n: 2,
			answer: answer{status: 429, wait: time.Second, body: []byte(`{"itemsReceived":2,"itemsAccepted":0,"errors":[]}`)},
			want:   verdict{outcome: outcomeThrottled, all: fateAgain},
		},
		{
			name: "429 listing every item", n: 1,
			answer: answer{status: 429, body: []byte(`{"itemsReceived":1,"itemsAccepted":0,"errors":[{"index":0,"statusCode":429,"message":"slow"}]}`)},
			want:   verdict{outcome: outcomeThrottled, perItem: true, again: []int{0}, message: "slow"},
		},
		{
			name: "503 after part was taken", n: 2,
			answer: answer{status: 503, body: []byte(`{"itemsReceived":2,"itemsAccepted":1,"errors":[{"index":0,"statusCode":503,"message":"later"}]}`)},
			want:   verdict{outcome: outcomePartial, perItem: true, again: []int{0}, message: "later"},
		},
		{
			name: "503 with a page of HTML", n: 2,
			answer: answer{status: 503, body: []byte("<html>")},
			want:   verdict{outcome: outcomeAgain, all: fateAgain},
		},
		{
			name: "404", n: 2,
			answer: answer{status: 404},
			want:   verdict{outcome: outcomeRefused, all: fateRefused},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, judge(tt.answer, tt.n, tt.cap))
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, tt := range []struct {
		name, value, date string
		want              time.Duration
	}{
		{"none", "", "", 0},
		{"seconds", "17", "", 17 * time.Second},
		{"seconds with blanks", " 17 ", "", 17 * time.Second},
		{"zero", "0", "", 0},
		{"negative", "-5", "", 0},
		{"fraction", "1.5", "", 0},
		{"words", "soon", "", 0},
		{"more than a day", "99999999", "", 24 * time.Hour},
		{"more than fits", "99999999999999999999999", "", 24 * time.Hour},
		{"date", "Wed, 04 Mar 2026 05:07:07 GMT", "", time.Minute},
		{"date of long ago", "Wed, 04 Mar 2020 05:07:07 GMT", "", 0},
		{"date by the clock of the server", "Wed, 04 Mar 2026 09:00:30 GMT", "Wed, 04 Mar 2026 09:00:00 GMT", 30 * time.Second},
		{"date in the older form", "Wednesday, 04-Mar-26 05:07:07 GMT", "", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			h.Set("Retry-After", tt.value)
			if tt.date != "" {
				h.Set("Date", tt.date)
			}
			assert.Equal(t, tt.want, retryAfter(h, now))
		})
	}
}

func TestPrintable(t *testing.T) {
	assert.Equal(t, "the key (hidden) is unknown", printable("the key ABC-1 is unknown", "abc-1"))
	assert.Equal(t, "no such path: (hidden)/v2.1/track, (hidden)", printable("no such path: /ai/v2.1/track, KEY", "key", "/ai"))
	assert.Equal(t, "two lines and \ufffd", printable("two\nlines\tand \xff", "secret"))
	long := printable(strings.Repeat("é", 400), "secret")
	assert.Equal(t, strings.Repeat("é", 300)+"…", long)
}
