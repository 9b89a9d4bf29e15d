//go:build tools

// Package velero pins the backup program that whole moves are measured against and whose backups are imported.
package velero

import (
	_ "github.com/kopia/kopia"
	_ "github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws"
	_ "github.com/vmware-tanzu/velero/cmd/velero"
	_ "github.com/vmware-tanzu/velero/cmd/velero-restore-helper"
)
