// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package k8senrich is a processor that adds to telemetry what k8s_attributes
// leaves out: what a pod can say of itself through the Downward API, the
// limits and requests of its containers, and other names for attributes.
//
// For each resource it goes through three steps in this order, and each sees
// what the ones before have set:
//
//  1. downward_api gives the attributes of the pod that the collector runs in,
//     unless the resource says by its k8s.pod.uid that it is of another pod.
//  2. container_resources finds the resource's pod in a cache that a watch of
//     the API server fills, and gives the figures of the container, or the
//     pod's sums where the container is not known.
//  3. aliases copies attributes to further names.
//
// An attribute that is there already is never changed, nothing is ever
// removed, and no item is ever dropped or held up: without an API server, a
// file or a variable the telemetry passes with what is known.
//
// The processors of all pipelines that share one configuration share one cache
// and one watch. All of it is safe for concurrent use.
package k8senrich
