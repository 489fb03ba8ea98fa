// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package k8senrich

import "time"

// threadTime is not known here.
func threadTime() time.Duration { return 0 }
