//go:build tools

// Package peers pins the backup programs that the benchmarks of the repository engine measure Ferry against.
package peers

import (
	_ "github.com/kopia/kopia"
	_ "github.com/restic/restic/cmd/restic"
)
