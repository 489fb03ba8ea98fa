// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package cloudroleprocessor decides the Application Insights cloud role (a node
// of the application map) and role instance of each resource.
//
// For each resource the first of these that gives a role wins:
//
//  1. a role that stands there already (unless override is on): ai.cloud.role as
//     the app set it, or what an earlier cloudrole wrote into service.name;
//  2. a mapping for its service.name;
//  3. the first rule whose globs all match and whose template resolves whole;
//  4. the first template of the role list that resolves whole;
//  5. its service.name as it came.
//
// The role instance is decided on its own, by the instance list.
//
// Everything in the configuration is compiled once, when the processor is made.
// After that the decision is read-only and may run concurrently; the only shared
// state is the counter and the bounded memory of what has been logged. The cost of
// a batch grows with its resources: spans, data points and log records are never
// looked at. Resource attributes other than the ones the README names are left
// alone, and nothing is ever dropped.
package cloudroleprocessor
