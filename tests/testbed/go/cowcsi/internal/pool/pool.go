// Package pool keeps volumes and snapshots on one btrfs filesystem: their data
// under data/, one JSON record each under meta/.
package pool

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ferry.test/testbed/cowcsi/internal/host"
)

// Backing is how a volume lies in the pool. Both kinds are snapshotted and
// cloned without copying data.
type Backing string

const (
	// Subvolume is a btrfs subvolume, bind-mounted into pods.
	Subvolume Backing = "subvolume"
	// Image is a sparse file on a loop device: Block claims, or ext4 and xfs.
	Image Backing = "image"
)

// Item is a volume or a snapshot.
type Item struct {
	ID       string
	Name     string // as asked for; the same name again means the same item
	Snapshot bool
	Backing  Backing
	Size     int64  // bytes
	Source   string // volume or snapshot it was made from
	Group    string // group snapshot it belongs to
	Created  time.Time
}

// Group is a volume group snapshot.
type Group struct {
	ID        string
	Snapshots []string
	Created   time.Time
}

// Pool is the filesystem with everything the driver knows.
//
// Its lock is for the services to hold around a change: every change is a
// matter of milliseconds, so one lock for all is enough, and the sidecars retry
// whatever was interrupted.
type Pool struct {
	sync.Mutex
	dir   string
	quota bool
}

// ErrNotFound says that there is no item or group of that id.
var ErrNotFound = errors.New("not found")

// Open uses the btrfs filesystem mounted at dir, with quota groups if asked for,
// and thaws what an earlier process left frozen.
func Open(dir string, quota bool) (*Pool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, fmt.Errorf("opening pool %s: %w", dir, err)
	}
	if int64(st.Type) != unix.BTRFS_SUPER_MAGIC {
		return nil, fmt.Errorf("opening pool %s: not on btrfs", dir)
	}
	for _, sub := range []string{"data", "meta"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("opening pool %s: %w", dir, err)
		}
	}
	if quota {
		if _, err := host.Run("btrfs", "quota", "enable", dir); err != nil {
			return nil, err
		}
	}
	p := &Pool{dir: dir, quota: quota}
	return p, p.thaw()
}

func (p *Pool) thaw() error {
	items, err := p.List()
	if err != nil {
		return err
	}
	for _, item := range items {
		devices, err := p.Devices(item)
		if err != nil {
			return err
		}
		for _, device := range devices {
			if err := host.Thaw(device); err != nil {
				return err
			}
		}
	}
	return nil
}

// IDFor makes an identifier from a name, so that a repeated request finds what
// the first one made without an index.
func IDFor(kind, name string) string {
	sum := sha256.Sum256([]byte(name))
	return kind + "-" + hex.EncodeToString(sum[:12])
}

// Path is where an item's data is.
func (p *Pool) Path(item *Item) string {
	path := filepath.Join(p.dir, "data", item.ID)
	if item.Backing == Image {
		path += ".img"
	}
	return path
}

// Available is the free space, in bytes.
func (p *Pool) Available() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(p.dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", p.dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// Get finds an item, or ErrNotFound.
func (p *Pool) Get(id string) (*Item, error) {
	item := new(Item)
	return item, p.load(id, item)
}

// GetGroup finds a group snapshot, or ErrNotFound.
func (p *Pool) GetGroup(id string) (*Group, error) {
	group := new(Group)
	return group, p.load(id, group)
}

// List gives every item, by id.
func (p *Pool) List() ([]*Item, error) {
	files, err := filepath.Glob(filepath.Join(p.dir, "meta", "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var items []*Item
	for _, f := range files {
		item, err := p.Get(strings.TrimSuffix(filepath.Base(f), ".json"))
		if errors.Is(err, ErrNotFound) {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		if item.Backing != "" { // a group's record has none
			items = append(items, item)
		}
	}
	return items, nil
}

// record is the file of an id. Identifiers come from outside (a
// VolumeSnapshotContent may name any handle), so one that is not a plain name
// has no record.
func (p *Pool) record(id string) (string, bool) {
	if id == "" || len(id) > 128 || strings.ContainsAny(id, "/\x00") {
		return "", false
	}
	return filepath.Join(p.dir, "meta", id+".json"), true
}

func (p *Pool) load(id string, into any) error {
	path, ok := p.record(id)
	if !ok {
		return ErrNotFound
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("record of %s: %w", id, err)
	}
	return nil
}

// save comes last in every creation: data without a record is a leftover, and
// the next attempt under the same name clears it.
func (p *Pool) save(id string, what any) error {
	path, ok := p.record(id)
	if !ok {
		return fmt.Errorf("%q is no identifier", id)
	}
	raw, err := json.MarshalIndent(what, "", " ")
	if err == nil {
		err = os.WriteFile(path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("record of %s: %w", id, err)
	}
	return nil
}

// SaveGroup records a group snapshot whose members exist.
func (p *Pool) SaveGroup(group *Group) error { return p.save(group.ID, group) }

// RemoveGroup forgets a group snapshot; its members go one by one before it.
func (p *Pool) RemoveGroup(group *Group) error { return p.forget(group.ID) }

func (p *Pool) forget(id string) error {
	path, ok := p.record(id)
	if !ok {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("record of %s: %w", id, err)
	}
	return nil
}
