package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// From <linux/fs.h>; the package unix does not have them.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// Loops finds the loop devices on a file.
func Loops(file string) ([]string, error) {
	names, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var devices []string
	for _, n := range names {
		backing, err := os.ReadFile(n)
		// A device may be detached between the two calls.
		if err == nil && strings.TrimSuffix(string(backing), "\n") == file {
			devices = append(devices, "/dev/"+strings.Split(n, "/")[3])
		}
	}
	return devices, nil
}

// Attach gives the loop device of a file, setting one up when there is none.
func Attach(file string) (string, error) {
	have, err := Loops(file)
	if err != nil {
		return "", err
	}
	if len(have) > 0 {
		return have[0], nil
	}
	out, err := Run("losetup", "--find", "--show", file)
	return strings.TrimSpace(out), err
}

// Detach frees the loop devices of a file.
func Detach(file string) error {
	have, err := Loops(file)
	if err != nil {
		return err
	}
	for _, device := range have {
		if _, err := Run("losetup", "--detach", device); err != nil {
			return err
		}
	}
	return nil
}

// Quiesce makes what is on a loop device's file complete and returns the way
// back. With a mounted filesystem that is a freeze, so that a copy mounts
// clean; a raw device can only be flushed, as a disk array would see it.
func Quiesce(device string) (thaw func(), err error) {
	at, err := mountedAt(device)
	if err != nil {
		return nil, err
	}
	if at == "" {
		f, err := os.OpenFile(device, os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("flushing %s: %w", device, err)
		}
		defer f.Close()
		return func() {}, f.Sync()
	}
	dir, err := os.Open(at)
	if err != nil {
		return nil, fmt.Errorf("freezing %s: %w", at, err)
	}
	err = unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0)
	if errors.Is(err, unix.EROFS) {
		// Read-only: there is nothing to write back.
		return func() {}, dir.Close()
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("freezing %s: %w", at, err)
	}
	return func() {
		_ = unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0)
		dir.Close()
	}, nil
}

// Thaw undoes a freeze of the filesystem on device that nobody undid: its
// maker was killed between the two. One that is not frozen is no error.
func Thaw(device string) error {
	at, err := mountedAt(device)
	if err != nil || at == "" {
		return err
	}
	dir, err := os.Open(at)
	if err != nil {
		return err
	}
	defer dir.Close()
	// EINVAL says that it is not frozen.
	if err := unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("thawing %s: %w", at, err)
	}
	return nil
}
