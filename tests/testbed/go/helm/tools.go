//go:build tools

// Package helm pins the Helm with which the tests look at releases that Ferry moved.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
