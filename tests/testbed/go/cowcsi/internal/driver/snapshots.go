package driver

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ferry.test/testbed/cowcsi/internal/pool"
)

func snapshotOf(item *pool.Item) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId:      item.ID,
		SourceVolumeId:  item.Source,
		SizeBytes:       item.Size,
		CreationTime:    timestamppb.New(item.Created),
		ReadyToUse:      true,
		GroupSnapshotId: item.Group,
	}
}

// take makes one snapshot; the caller holds the pool's lock.
func take(p *pool.Pool, name, volume, group string) (*pool.Item, error) {
	id := pool.IDFor("snap", name)
	have, err := p.Get(id)
	if err == nil {
		if have.Source != volume {
			return nil, status.Errorf(codes.AlreadyExists, "%s is a snapshot of %s", name, have.Source)
		}
		return have, nil
	}
	if !errors.Is(err, pool.ErrNotFound) {
		return nil, answer(err, id)
	}
	source, err := p.Get(volume)
	if err == nil && source.Snapshot {
		err = pool.ErrNotFound
	}
	if err != nil {
		return nil, answer(err, "volume "+volume)
	}
	item := &pool.Item{ID: id, Name: name, Snapshot: true, Backing: source.Backing, Size: source.Size,
		Source: volume, Group: group, Created: time.Now()}
	if err := p.Create(item, source); err != nil {
		return nil, answer(err, id)
	}
	return item, nil
}

// CreateSnapshot is AlreadyExists for a name that another volume's snapshot has.
func (c *controller) CreateSnapshot(_ context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if req.Name == "" || req.SourceVolumeId == "" {
		return nil, missing("name or source volume")
	}
	c.pool.Lock()
	defer c.pool.Unlock()
	item, err := take(c.pool, req.Name, req.SourceVolumeId, "")
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: snapshotOf(item)}, nil
}

// DeleteSnapshot leaves the volumes made from the snapshot as they are.
func (c *controller) DeleteSnapshot(_ context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if req.SnapshotId == "" {
		return nil, missing("snapshot id")
	}
	c.pool.Lock()
	defer c.pool.Unlock()
	item, err := c.pool.Get(req.SnapshotId)
	if errors.Is(err, pool.ErrNotFound) || err == nil && !item.Snapshot {
		return &csi.DeleteSnapshotResponse{}, nil
	}
	if err == nil {
		err = c.pool.Remove(item)
	}
	if err != nil {
		return nil, answer(err, req.SnapshotId)
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// ListSnapshots lists the snapshots by id, those of one volume or one of them
// if asked for.
func (c *controller) ListSnapshots(_ context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	items, err := c.pool.List()
	if err != nil {
		return nil, answer(err, "pool")
	}
	items = slices.DeleteFunc(items, func(i *pool.Item) bool {
		return !i.Snapshot || req.SnapshotId != "" && i.ID != req.SnapshotId ||
			req.SourceVolumeId != "" && i.Source != req.SourceVolumeId
	})
	items, next, err := page(items, req.StartingToken, req.MaxEntries)
	if err != nil {
		return nil, err
	}
	resp := &csi.ListSnapshotsResponse{NextToken: next}
	for _, i := range items {
		resp.Entries = append(resp.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshotOf(i)})
	}
	return resp, nil
}
