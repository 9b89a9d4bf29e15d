//go:build tools

// Package etcd pins the etcd server of the testbed's two clusters.
package etcd

import _ "go.etcd.io/etcd/server/v3"
