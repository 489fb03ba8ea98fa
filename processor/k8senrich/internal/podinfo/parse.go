// SPDX-License-Identifier: Apache-2.0

package podinfo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Pair is a label or an annotation.
type Pair struct{ Key, Value string }

// ParsePairs reads what the kubelet writes into a file of a downwardAPI
// volume: a line key="value" for each pair, the value quoted as Go quotes
// strings, so that a line break in it does not end the line. Lines that are
// not of this form are left out and their numbers, from 1, are in the error;
// what they hold is not.
func ParsePairs(text string) ([]Pair, error) {
	var pairs []Pair
	var bad []string
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		key, quoted, ok := strings.Cut(line, "=")
		value, err := strconv.Unquote(quoted)
		if !ok || key == "" || err != nil || quoted[0] != '"' {
			bad = append(bad, strconv.Itoa(number))
			continue
		}
		pairs = append(pairs, Pair{Key: key, Value: value})
	}
	if bad != nil {
		return pairs, fmt.Errorf("line %s: want key=\"value\"", strings.Join(bad, ", "))
	}
	return pairs, nil
}

// autoMillicores is the whole number from which CPU is taken to be in
// thousandths of a core if nothing says what it is in. Machines of 100 cores
// are rare, and so are limits of a tenth of a core.
const autoMillicores = 100

var errNegative = errors.New("must not be negative")

// ParseCPU returns thousandths of a core. The text is a quantity as in a pod's
// manifest (500m, 1.5), or the whole number that a resourceFieldRef gives,
// which is rounded up and of a unit that only its divisor tells.
func ParseCPU(text string, unit Unit) (int64, error) {
	if n, ok := wholeNumber(text); ok {
		switch {
		case unit == Millicores, unit == Auto && n >= autoMillicores:
			return n, nil
		case n > maxCores:
			return 0, fmt.Errorf("more than %d cores", maxCores)
		}
		return n * 1000, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, err
	}
	if q.Sign() < 0 {
		return 0, errNegative
	}
	return q.MilliValue(), nil
}

const maxCores = 1_000_000

// ParseMemory returns bytes, from a whole number of them or a quantity (256Mi).
func ParseMemory(text string) (int64, error) {
	if n, ok := wholeNumber(text); ok {
		return n, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, err
	}
	if q.Sign() < 0 {
		return 0, errNegative
	}
	return q.Value(), nil
}

func wholeNumber(text string) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err == nil
}
