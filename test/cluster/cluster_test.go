// SPDX-License-Identifier: Apache-2.0

//go:build cluster && linux

package cluster_test

import (
	"testing"

	"github.com/otelcol-custom/otelcol-custom/test/cluster"
)

func TestCluster(t *testing.T) {
	c := cluster.Start(t)
	t.Log(c.Kubectl(t, "get", "all", "-A", "-o", "wide"))
}
