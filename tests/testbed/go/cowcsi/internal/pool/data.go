package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ferry.test/testbed/cowcsi/internal/host"
)

// Create makes item, empty or as a copy-on-write copy of source.
func (p *Pool) Create(item, source *Item) error {
	if err := p.wipe(item); err != nil {
		return err
	}
	if err := p.materialize(item, source); err != nil {
		return err
	}
	if !item.Snapshot {
		if err := p.hold(item); err != nil {
			return err
		}
	}
	return p.save(item.ID, item)
}

func (p *Pool) materialize(item, source *Item) error {
	to := p.Path(item)
	var err error
	switch {
	case item.Backing == Image && source == nil:
		err = os.WriteFile(to, nil, 0o600)
	case item.Backing == Image:
		err = p.copyStill(item, source, to)
	case source == nil:
		_, err = host.Run("btrfs", "subvolume", "create", to)
	case item.Snapshot:
		_, err = host.Run("btrfs", "subvolume", "snapshot", "-r", p.Path(source), to)
	default:
		_, err = host.Run("btrfs", "subvolume", "snapshot", p.Path(source), to)
	}
	return err
}

// Resize changes what the item may hold, in bytes.
func (p *Pool) Resize(item *Item, size int64) error {
	item.Size = size
	if err := p.hold(item); err != nil {
		return err
	}
	return p.save(item.ID, item)
}

// hold holds the data to item.Size.
func (p *Pool) hold(item *Item) error {
	if item.Backing == Image {
		return os.Truncate(p.Path(item), item.Size)
	}
	if !p.quota {
		return nil
	}
	_, err := host.Run("btrfs", "qgroup", "limit", strconv.FormatInt(item.Size, 10), p.Path(item))
	return err
}

// copyStill copies an image while it stands still. Who makes a group holds all
// its members still at once.
func (p *Pool) copyStill(item, source *Item, to string) error {
	if item.Group == "" {
		thaw, err := p.Still(source)
		if err != nil {
			return err
		}
		defer thaw()
	}
	return p.reflink(source, to)
}

// Still makes images stand still until the way back is taken. What pods wrote
// and the kernel still holds above an image must reach its file before it is
// copied: a filesystem on the loop device is frozen for the moment, a raw device
// flushed. Subvolumes go on.
func (p *Pool) Still(items ...*Item) (thaw func(), err error) {
	var back []func()
	thaw = func() {
		for _, one := range slices.Backward(back) {
			one()
		}
	}
	for _, item := range items {
		devices, err := p.Devices(item)
		if err != nil {
			thaw()
			return nil, err
		}
		for _, device := range devices {
			one, err := host.Quiesce(device)
			if err != nil {
				thaw()
				return nil, err
			}
			back = append(back, one)
		}
	}
	return thaw, nil
}

// reflink copies an image file by sharing its extents.
func (p *Pool) reflink(source *Item, to string) error {
	src, err := os.Open(p.Path(source))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		return fmt.Errorf("sharing the extents of %s with %s: %w", src.Name(), to, err)
	}
	return nil
}

// Remove deletes an item, its data before its record: what is interrupted
// between the two is found, and finished, by the next attempt.
func (p *Pool) Remove(item *Item) error {
	if err := p.wipe(item); err != nil {
		return err
	}
	return p.forget(item.ID)
}

func (p *Pool) wipe(item *Item) error {
	path := p.Path(item)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if item.Backing == Image {
		return os.Remove(path)
	}
	group := ""
	if p.quota {
		if out, err := host.Run("btrfs", "inspect-internal", "rootid", path); err == nil {
			group = "0/" + strings.TrimSpace(out)
		}
	}
	if _, err := host.Run("btrfs", "subvolume", "delete", path); err != nil {
		return err
	}
	if group != "" {
		// The group outlives its subvolume and thousands of them slow every
		// commit down. It is busy until the cleaner is through: best effort.
		_, _ = host.Run("btrfs", "qgroup", "destroy", group, p.dir)
	}
	return nil
}

// Usage is what the subvolume at path refers to, in bytes; 0 without quotas.
func (p *Pool) Usage(path string) (int64, error) {
	if !p.quota {
		return 0, nil
	}
	out, err := host.Run("btrfs", "qgroup", "show", "--raw", "-f", path)
	if err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 2 {
		return 0, fmt.Errorf("btrfs qgroup show %s: no usage in %q", path, out)
	}
	return strconv.ParseInt(fields[1], 10, 64)
}

// Devices are the loop devices on an image; a subvolume has none.
func (p *Pool) Devices(item *Item) ([]string, error) {
	if item.Backing != Image {
		return nil, nil
	}
	return host.Loops(p.Path(item))
}

// Attach gives the loop device of an image, setting one up when there is none.
func (p *Pool) Attach(item *Item) (string, error) { return host.Attach(p.Path(item)) }

// Detach frees the loop devices of an image.
func (p *Pool) Detach(item *Item) error { return host.Detach(p.Path(item)) }
