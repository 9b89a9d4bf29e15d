//go:build tools

// Package minio pins the object store of the testbed.
package minio

import _ "github.com/minio/minio"
