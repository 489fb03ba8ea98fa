// SPDX-License-Identifier: Apache-2.0

package applicationinsightsexporter

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxRequestItems is the number of items that ingestion takes in one request.
const maxRequestItems = 64000

// maxRetryAfter bounds what a server may make us wait.
const maxRetryAfter = 24 * time.Hour

// statusSampledOut is the code of an item that ingestion has sampled out by the resource's own setting.
const statusSampledOut = http.StatusPartialContent

// statusDailyQuota is the older code for 402.
const statusDailyQuota = 439

// answer is what came back for one request.
type answer struct {
	status int
	body   []byte
	// broken is set when the body could not be read to its end.
	broken error
	// wait is how long ingestion asks to be left alone, zero if it does not.
	wait time.Duration
}

// breezeAnswer is the documented body. Pointers tell a missing number from a zero.
type breezeAnswer struct {
	Received *int          `json:"itemsReceived"`
	Accepted *int          `json:"itemsAccepted"`
	Errors   []breezeError `json:"errors"`
}

type breezeError struct {
	Index   int    `json:"index"`
	Status  int    `json:"statusCode"`
	Message string `json:"message"`
}

// fate is what happens to an item.
type fate uint8

const (
	fateAccepted fate = iota
	// fateAgain: not accepted now, to be sent again.
	fateAgain
	// fateRefused: never accepted, to be counted.
	fateRefused
)

// refusal is one item that ingestion will never take.
type refusal struct {
	index   int
	status  int
	message string
}

// verdict is what an answer means for the items of its request.
type verdict struct {
	outcome requestOutcome
	// again lists the items to send again, in order, when outcome leaves items apart; else all decides.
	again   []int
	refused []refusal
	// all is the fate of every item when perItem is false.
	all     fate
	perItem bool
	// split: the request as such was refused; its halves may not be.
	split bool
	// doubtful: some of the items that go again may have been stored.
	doubtful bool
	// message is ingestion's own, of the request or of the first item.
	message string
}

// judge decides what to do with the n items that a got for an answer. waitForCap says that the daily cap is
// worth waiting for even when ingestion does not say how long.
func judge(a answer, n int, waitForCap bool) verdict {
	body, readable := parseAnswer(a)
	ok := a.status/100 == 2
	if readable {
		if v, accounts := byItem(a, body, n, waitForCap); accounts {
			return v
		}
	}
	message := ""
	if len(body.Errors) > 0 {
		message = body.Errors[0].Message
	}
	switch {
	case ok && a.status != http.StatusPartialContent && len(a.body) == 0 && a.broken == nil:
		// 200 is documented as "all accepted"; a proxy may have eaten the proof.
		return verdict{outcome: outcomeAccepted, all: fateAccepted}
	case ok:
		// Something was accepted, and there is no telling what. At least once means all of it again.
		return verdict{outcome: outcomeUnreadable, all: fateAgain, doubtful: true, message: unreadableReason(a, body, readable, n)}
	case a.status == http.StatusRequestEntityTooLarge:
		return verdict{outcome: outcomeTooLarge, all: fateRefused, split: n > 1, message: message}
	}
	all := fateOf(a.status, a.wait > 0 || waitForCap)
	v := verdict{outcome: outcomeRefused, all: all, message: message}
	if all == fateAgain {
		v.outcome = outcomeAgain
		if throttles(a.status) {
			v.outcome = outcomeThrottled
		}
		return v
	}
	// A request that is refused as a whole without a word on its items may have one bad item in it. The others
	// deserve to be asked for by themselves.
	v.split = a.status == http.StatusBadRequest && n > 1
	return v
}

func parseAnswer(a answer) (body breezeAnswer, ok bool) {
	if a.broken != nil || len(a.body) == 0 || json.Unmarshal(a.body, &body) != nil {
		return breezeAnswer{}, false
	}
	return body, body.Received != nil && body.Accepted != nil
}

// byItem reads the fate of each item from a body that accounts for all n of them, whatever the status; a body
// that does not is no use.
func byItem(a answer, body breezeAnswer, n int, waitForCap bool) (v verdict, ok bool) {
	accepted, listed, sampled := *body.Accepted, 0, 0
	seen := make(map[int]struct{}, len(body.Errors))
	for _, e := range body.Errors {
		if e.Index < 0 || e.Index >= n {
			return v, false
		}
		if _, twice := seen[e.Index]; twice {
			return v, false
		}
		seen[e.Index] = struct{}{}
		listed++
		if sampledOut(e) {
			sampled++
		}
	}
	// What was sampled out may or may not count as accepted.
	if *body.Received != n || (accepted+listed != n && accepted+listed-sampled != n) {
		return v, false
	}
	v.perItem = true
	again := make([]bool, n)
	for _, e := range body.Errors {
		wait := a.wait > 0 || waitForCap
		if !sampledOut(e) && fateOf(e.Status, wait) == fateAgain {
			again[e.Index] = true
		} else {
			v.refused = append(v.refused, refusal{e.Index, e.Status, e.Message})
		}
		if v.message == "" {
			v.message = e.Message
		}
	}
	for i := range again {
		if again[i] {
			v.again = append(v.again, i)
		}
	}
	switch {
	case listed == sampled:
		v.outcome = outcomeAccepted
	case len(v.refused) == n:
		v.outcome = outcomeRefused
	case len(v.again) == n && throttles(a.status):
		v.outcome = outcomeThrottled
	case len(v.again) == n:
		v.outcome = outcomeAgain
	default:
		v.outcome = outcomePartial
	}
	return v, true
}

func sampledOut(e breezeError) bool {
	return e.Status == statusSampledOut && strings.EqualFold(strings.TrimSpace(e.Message), "Telemetry sampled out.")
}

// fateOf is the table of the specification: what a status says of an item or of a request. wait is set when the
// daily cap is to be waited for.
func fateOf(status int, wait bool) fate {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden: // a token or a role that can be put right
		return fateAgain
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return fateAgain
	case http.StatusPaymentRequired, statusDailyQuota: // the daily cap
		if wait {
			return fateAgain
		}
		return fateRefused
	}
	switch status / 100 {
	case 3, 5: // 3xx: a redirect that was not followed, for somebody to put right
		return fateAgain
	default:
		return fateRefused
	}
}

func throttles(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusPaymentRequired || status == statusDailyQuota
}

func unreadableReason(a answer, body breezeAnswer, readable bool, n int) string {
	switch {
	case a.broken != nil:
		return "the answer broke off"
	case len(a.body) == 0:
		return "the answer is empty"
	case !readable:
		return "the answer is not ingestion's JSON"
	default:
		return fmt.Sprintf("the answer does not add up: %d sent, %d received, %d accepted, %d listed", n, *body.Received, *body.Accepted, len(body.Errors))
	}
}

// retryAfter reads both forms of the header, seconds and date; zero means that there is nothing to wait for. A
// date is measured from the server's own clock where it gives one.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = maxRetryAfter
		if seconds < uint64(maxRetryAfter/time.Second) {
			wait = time.Duration(seconds) * time.Second
		}
	} else if date, err := http.ParseTime(value); err == nil {
		if d, err := http.ParseTime(h.Get("Date")); err == nil {
			now = d
		}
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// maxMessage bounds how much of ingestion's words goes into a log line.
const maxMessage = 300

// printable makes a message of the other side fit for a log: short, one line, and without the secrets.
func printable(message string, secrets ...string) string {
	for _, secret := range secrets {
		message = strings.NewReplacer(secret, "(hidden)", strings.ToLower(secret), "(hidden)", strings.ToUpper(secret), "(hidden)").Replace(message)
	}
	message = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(message, "\ufffd"))
	if runes := []rune(message); len(runes) > maxMessage {
		message = string(runes[:maxMessage]) + "…"
	}
	return message
}
