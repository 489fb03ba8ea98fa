// SPDX-License-Identifier: Apache-2.0

package refusalsextension

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The calls of one address have half of the places. Those that wait get one when
// another is given back, or none when their time is up; other addresses need not wait.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces()
		a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
		var leave []func()
		take := func(client netip.Addr) {
			l, err := p.wait(t.Context(), client)
			require.NoError(t, err)
			leave = append(leave, l)
		}
		tooLate := func(client netip.Addr) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := p.wait(ctx, client)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		for range placesOfAddress {
			take(a)
		}
		tooLate(a)
		waited := make(chan func())
		go func() {
			l, err := p.wait(t.Context(), a)
			assert.NoError(t, err)
			waited <- l
		}()
		synctest.Wait()
		for range placesOfAll - placesOfAddress {
			take(b)
		}
		tooLate(c)
		leave[0]()
		(<-waited)()
		take(c)
		for _, l := range leave[1:] {
			l()
		}
		assert.Empty(t, p.addresses)
		assert.Empty(t, p.all)
	})
}
