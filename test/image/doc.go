// SPDX-License-Identifier: Apache-2.0

// Package image tests the container image: what is in it, that it is the same
// at each build, and that it does its work locked down: read-only, without
// capabilities, as a user that is not root, in 200 MB.
//
// The tests have the build tag image. They need root and Podman with runc, pull
// nothing and keep their images and containers in a storage of their own, which
// goes with the test.
package image
