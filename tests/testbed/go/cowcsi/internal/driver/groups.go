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

// groups makes volume group snapshots. Images show one instant: all filesystems
// on them are frozen before the first copy and thawed after the last. btrfs has
// no snapshot of several subvolumes at one instant: these are taken one after
// another, some milliseconds apart.
type groups struct {
	csi.UnimplementedGroupControllerServer
	pool *pool.Pool
}

// GroupControllerGetCapabilities says which calls of this service work.
func (g *groups) GroupControllerGetCapabilities(context.Context, *csi.GroupControllerGetCapabilitiesRequest) (*csi.GroupControllerGetCapabilitiesResponse, error) {
	return &csi.GroupControllerGetCapabilitiesResponse{Capabilities: []*csi.GroupControllerServiceCapability{{
		Type: &csi.GroupControllerServiceCapability_Rpc{Rpc: &csi.GroupControllerServiceCapability_RPC{
			Type: csi.GroupControllerServiceCapability_RPC_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT}}}}}, nil
}

// CreateVolumeGroupSnapshot is AlreadyExists for a name with other volumes.
func (g *groups) CreateVolumeGroupSnapshot(_ context.Context, req *csi.CreateVolumeGroupSnapshotRequest) (*csi.CreateVolumeGroupSnapshotResponse, error) {
	if req.Name == "" || len(req.SourceVolumeIds) == 0 {
		return nil, missing("name or source volumes")
	}
	g.pool.Lock()
	defer g.pool.Unlock()
	id := pool.IDFor("group", req.Name)
	group, err := g.pool.GetGroup(id)
	switch {
	case errors.Is(err, pool.ErrNotFound):
		group, err = g.take(id, req)
	case err == nil && !sameMembers(group, req):
		err = status.Errorf(codes.AlreadyExists, "%s is there with other volumes", req.Name)
	}
	if err != nil {
		return nil, answer(err, id)
	}
	out, err := g.snapshots(group)
	return &csi.CreateVolumeGroupSnapshotResponse{GroupSnapshot: out}, err
}

func memberName(group, volume string) string { return group + "/" + volume }

func sameMembers(group *pool.Group, req *csi.CreateVolumeGroupSnapshotRequest) bool {
	var wanted []string
	for _, volume := range req.SourceVolumeIds {
		wanted = append(wanted, pool.IDFor("snap", memberName(req.Name, volume)))
	}
	slices.Sort(wanted)
	return slices.Equal(slices.Sorted(slices.Values(group.Snapshots)), wanted)
}

// take makes the members, all or none: a retry starts from nothing again.
func (g *groups) take(id string, req *csi.CreateVolumeGroupSnapshotRequest) (*pool.Group, error) {
	group := &pool.Group{ID: id, Created: time.Now()}
	var sources []*pool.Item
	for _, volume := range req.SourceVolumeIds {
		source, err := g.pool.Get(volume)
		if err != nil {
			return nil, answer(err, "volume "+volume)
		}
		sources = append(sources, source)
	}
	thaw, err := g.pool.Still(sources...)
	if err != nil {
		return nil, err
	}
	defer thaw()
	for _, volume := range req.SourceVolumeIds {
		item, err := take(g.pool, memberName(req.Name, volume), volume, id)
		if err != nil {
			return nil, errors.Join(err, g.removeMembers(group))
		}
		group.Snapshots = append(group.Snapshots, item.ID)
	}
	return group, g.pool.SaveGroup(group)
}

func (g *groups) removeMembers(group *pool.Group) error {
	for _, id := range group.Snapshots {
		member, err := g.pool.Get(id)
		if err == nil {
			err = g.pool.Remove(member)
		}
		if err != nil && !errors.Is(err, pool.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (g *groups) snapshots(group *pool.Group) (*csi.VolumeGroupSnapshot, error) {
	out := &csi.VolumeGroupSnapshot{GroupSnapshotId: group.ID, ReadyToUse: true, CreationTime: timestamppb.New(group.Created)}
	for _, id := range group.Snapshots {
		item, err := g.pool.Get(id)
		if err != nil {
			return nil, answer(err, "snapshot "+id+" of group "+group.ID)
		}
		out.Snapshots = append(out.Snapshots, snapshotOf(item))
	}
	return out, nil
}

// GetVolumeGroupSnapshot finds a group with its members.
func (g *groups) GetVolumeGroupSnapshot(_ context.Context, req *csi.GetVolumeGroupSnapshotRequest) (*csi.GetVolumeGroupSnapshotResponse, error) {
	if req.GroupSnapshotId == "" {
		return nil, missing("group snapshot id")
	}
	group, err := g.pool.GetGroup(req.GroupSnapshotId)
	if err != nil {
		return nil, answer(err, req.GroupSnapshotId)
	}
	out, err := g.snapshots(group)
	return &csi.GetVolumeGroupSnapshotResponse{GroupSnapshot: out}, err
}

// DeleteVolumeGroupSnapshot deletes a group and its members.
func (g *groups) DeleteVolumeGroupSnapshot(_ context.Context, req *csi.DeleteVolumeGroupSnapshotRequest) (*csi.DeleteVolumeGroupSnapshotResponse, error) {
	if req.GroupSnapshotId == "" {
		return nil, missing("group snapshot id")
	}
	g.pool.Lock()
	defer g.pool.Unlock()
	group, err := g.pool.GetGroup(req.GroupSnapshotId)
	if errors.Is(err, pool.ErrNotFound) {
		return &csi.DeleteVolumeGroupSnapshotResponse{}, nil
	}
	if err == nil {
		err = g.removeMembers(group)
	}
	if err == nil {
		err = g.pool.RemoveGroup(group)
	}
	if err != nil {
		return nil, answer(err, req.GroupSnapshotId)
	}
	return &csi.DeleteVolumeGroupSnapshotResponse{}, nil
}
