//go:build tools

// Package sanity pins the conformance tests that the CSI driver has to pass.
package sanity

import _ "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
