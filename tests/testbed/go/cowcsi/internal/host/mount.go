package host

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

type mount struct{ source, target, fstype string }

// The table escapes what would break its lines.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func mounts() ([]mount, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []mount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if w := strings.Fields(lines.Text()); len(w) > 2 {
			all = append(all, mount{w[0], unescape.Replace(w[1]), w[2]})
		}
	}
	return all, lines.Err()
}

// IsMounted says whether something is mounted on target itself.
func IsMounted(target string) (bool, error) {
	all, err := mounts()
	if err != nil {
		return false, fmt.Errorf("reading the mount table: %w", err)
	}
	for _, m := range all {
		if m.target == target {
			return true, nil
		}
	}
	return false, nil
}

// mountedAt is the first mount point of a device's filesystem, "" without one.
// A Block claim's device node is bind-mounted too, but that is devtmpfs.
func mountedAt(device string) (string, error) {
	all, err := mounts()
	if err != nil {
		return "", fmt.Errorf("reading the mount table: %w", err)
	}
	for _, m := range all {
		if m.source == device && m.fstype != "devtmpfs" {
			return m.target, nil
		}
	}
	return "", nil
}

// Bind makes from appear at target, read-only if asked for. When it fails,
// nothing is left mounted: a half-done mount would pass for a done one on retry.
func Bind(from, target string, readOnly bool) error {
	if err := unix.Mount(from, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s to %s: %w", from, target, err)
	}
	if !readOnly {
		return nil
	}
	// Binding and read-only do not go together in one call.
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		_ = unix.Unmount(target, unix.MNT_DETACH)
		return fmt.Errorf("making %s read-only: %w", target, err)
	}
	return nil
}

// Unmount takes every mount off path; a path without one is no error.
func Unmount(path string) error {
	for {
		mounted, err := IsMounted(path)
		if err != nil || !mounted {
			return err
		}
		if err := unix.Unmount(path, 0); err != nil {
			return fmt.Errorf("unmounting %s: %w", path, err)
		}
	}
}
