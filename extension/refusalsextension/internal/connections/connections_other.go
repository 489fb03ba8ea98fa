// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package connections

import (
	"errors"
	"fmt"
	"runtime"
)

// Limit returns an error: it is done on Linux alone.
func Limit(int, func(Ended)) (allowed int, stop func(), err error) {
	return 0, nil, fmt.Errorf("%s: %w", runtime.GOOS, errors.ErrUnsupported)
}
