// SPDX-License-Identifier: Apache-2.0

// Package repo holds the rules of this repository that no linter knows, as
// tests: versions agree, components are complete, documents say what the code
// does.
package repo
