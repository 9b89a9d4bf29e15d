package driver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"ferry.test/testbed/cowcsi/internal/host"
)

// filesystemOn is the type of the filesystem on a device, "" for a blank one.
func filesystemOn(device string) (string, error) {
	out, err := host.Run("blkid", "-o", "value", "-s", "TYPE", device)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 { // nothing was recognized
		return "", nil
	}
	return strings.TrimSpace(out), err
}

// format makes a filesystem on a device that has none. A copy without one is
// an error: formatting it would hide that the copy went wrong.
func format(device, fstype string, copied bool) (string, error) {
	have, err := filesystemOn(device)
	if err != nil || have != "" {
		return have, err
	}
	if copied {
		return "", fmt.Errorf("%s is a copy and has no filesystem on it", device)
	}
	if fstype == "" {
		fstype = "ext4"
	}
	if !slices.Contains([]string{"ext4", "xfs"}, fstype) {
		return "", fmt.Errorf("filesystem type %q: neither ext4 nor xfs", fstype)
	}
	_, err = host.Run("mkfs."+fstype, "-q", device)
	return fstype, err
}

// mountDevice mounts the filesystem of a device. When it cannot be made as
// large as its device, nothing stays mounted.
func mountDevice(device, fstype, at string, options []string, copied bool) error {
	switch fstype {
	case "ext4":
		// Here and not only in NodeExpandVolume: ext4 grows while mounted for
		// holders of CAP_SYS_RESOURCE alone, and a container or a small virtual
		// machine may lack it. Not mounted, no capability is asked for.
		if err := growExt4(device); err != nil {
			return err
		}
	case "xfs":
		// A clone has its origin's identifier and both may be mounted here.
		options = append(slices.Clone(options), "nouuid")
	}
	args := []string{"-t", fstype}
	if len(options) > 0 {
		args = append(args, "-o", strings.Join(options, ","))
	}
	if _, err := host.Run("mount", append(args, device, at)...); err != nil {
		return err
	}
	if !copied {
		return nil
	}
	// A volume made larger than its source has a filesystem that does not
	// know yet; the kubelet calls NodeExpandVolume only for resized claims.
	if err := grow(fstype, device, at); err != nil {
		return errors.Join(err, host.Unmount(at))
	}
	return nil
}

// Offsets in an ext4 superblock, which begins at byte 1024 of its device.
const (
	superblockAt  = 1024
	blocksLow     = 0x4
	logBlockSize  = 0x18
	blocksHigh    = 0x150
	smallestBlock = 1024 // bytes of a block of logarithm 0
)

// growExt4 makes an ext4 that is not mounted as large as its device.
func growExt4(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	super := make([]byte, 1024)
	if _, err := f.ReadAt(super, superblockAt); err != nil {
		return fmt.Errorf("superblock of %s: %w", device, err)
	}
	total, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	block := int64(smallestBlock) << le.Uint32(super[logBlockSize:])
	blocks := int64(le.Uint32(super[blocksLow:])) | int64(le.Uint32(super[blocksHigh:]))<<32
	if total-blocks*block < block {
		return nil
	}
	// resize2fs insists on a fresh check. Exit status 1 means "repaired".
	_, err = host.Run("e2fsck", "-f", "-p", device)
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		return err
	}
	_, err = host.Run("resize2fs", device)
	return err
}

// grow makes a device as large as its file and the filesystem mounted from it,
// if fstype names one, as large as the device.
func grow(fstype, device, at string) error {
	if _, err := host.Run("losetup", "--set-capacity", device); err != nil {
		return err
	}
	var err error
	switch fstype {
	case "ext4":
		_, err = host.Run("resize2fs", device)
	case "xfs":
		_, err = host.Run("xfs_growfs", at)
	}
	return err
}
