package driver

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ferry.test/testbed/cowcsi/internal/pool"
)

const (
	defaultSize = 1 << 30
	minimumSize = 1 << 20
	pageSize    = 4096 // sizes are multiples of it
)

type controller struct {
	csi.UnimplementedControllerServer
	Config
	pool *pool.Pool
}

// ControllerGetCapabilities says which calls of this service work.
func (c *controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	resp := new(csi.ControllerGetCapabilitiesResponse)
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		// csi-snapshotter asks it for the size of a snapshot it did not make.
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		// Without it the provisioner turns ReadWriteOncePod down.
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		resp.Capabilities = append(resp.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}}})
	}
	return resp, nil
}

// backingFor settles how a volume lies in the pool. Block is always an image;
// a filesystem is a subvolume unless its StorageClass asks for ext4 or xfs
// ("backing: image"), which have a real size and a real end of space.
func backingFor(caps []*csi.VolumeCapability, params map[string]string) (pool.Backing, error) {
	asked := pool.Backing(params["backing"])
	switch asked {
	case "", pool.Subvolume, pool.Image:
	default:
		return "", status.Errorf(codes.InvalidArgument, "parameter backing is %q, neither %q nor %q", asked, pool.Subvolume, pool.Image)
	}
	block := slices.ContainsFunc(caps, func(c *csi.VolumeCapability) bool { return c.GetBlock() != nil })
	if block || asked == pool.Image {
		return pool.Image, nil
	}
	return pool.Subvolume, nil
}

func sizeFor(r *csi.CapacityRange) (int64, error) {
	size, limit := r.GetRequiredBytes(), r.GetLimitBytes()
	if size == 0 {
		size = defaultSize
		if limit > 0 && limit < size {
			size = limit
		}
	}
	size = (max(size, minimumSize) + pageSize - 1) &^ (pageSize - 1)
	if limit > 0 && size > limit {
		return 0, status.Errorf(codes.OutOfRange, "%d bytes, limit %d", size, limit)
	}
	return size, nil
}

// CreateVolume makes a volume, empty or as a copy. The same name with other
// properties is AlreadyExists, more than the pool has free ResourceExhausted.
func (c *controller) CreateVolume(_ context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if req.Name == "" || len(req.VolumeCapabilities) == 0 {
		return nil, missing("name or capabilities")
	}
	backing, err := backingFor(req.VolumeCapabilities, req.Parameters)
	if err != nil {
		return nil, err
	}
	size, err := sizeFor(req.CapacityRange)
	if err != nil {
		return nil, err
	}
	if !c.reachable(req.AccessibilityRequirements) {
		return nil, status.Errorf(codes.ResourceExhausted, "no requested topology holds node %s", c.Node)
	}

	c.pool.Lock()
	defer c.pool.Unlock()
	item := &pool.Item{ID: pool.IDFor("vol", req.Name), Name: req.Name, Backing: backing, Size: size, Created: time.Now()}
	have, err := c.pool.Get(item.ID)
	if err == nil {
		if !fits(have, req.CapacityRange) || have.Backing != backing {
			return nil, status.Errorf(codes.AlreadyExists, "%s is there with other properties", req.Name)
		}
		return c.volume(have, req), nil
	}
	if !errors.Is(err, pool.ErrNotFound) {
		return nil, answer(err, item.ID)
	}
	source, err := c.source(req.VolumeContentSource, item)
	if err != nil {
		return nil, err
	}
	// Volumes are thin, so this only turns away what could never fit.
	free, err := c.pool.Available()
	if err != nil {
		return nil, answer(err, "pool")
	}
	if size > free {
		return nil, status.Errorf(codes.ResourceExhausted, "%d bytes asked for, %d free", size, free)
	}
	if err := c.pool.Create(item, source); err != nil {
		return nil, answer(err, item.ID)
	}
	return c.volume(item, req), nil
}

func fits(item *pool.Item, asked *csi.CapacityRange) bool {
	limit := asked.GetLimitBytes()
	return item.Size >= asked.GetRequiredBytes() && (limit == 0 || item.Size <= limit)
}

// source finds what the new item is to be a copy of, nil if of nothing.
func (c *controller) source(s *csi.VolumeContentSource, item *pool.Item) (*pool.Item, error) {
	if s == nil {
		return nil, nil
	}
	id, snapshot := s.GetVolume().GetVolumeId(), s.GetSnapshot() != nil
	if snapshot {
		id = s.GetSnapshot().GetSnapshotId()
	}
	source, err := c.pool.Get(id)
	if err != nil {
		return nil, answer(err, "source "+id)
	}
	switch {
	case source.Snapshot != snapshot:
		return nil, status.Errorf(codes.NotFound, "source %s is of the other kind", id)
	case source.Backing != item.Backing:
		return nil, status.Errorf(codes.InvalidArgument, "source is a %s, the volume would be a %s", source.Backing, item.Backing)
	case item.Size < source.Size:
		return nil, status.Errorf(codes.OutOfRange, "%d bytes, the source has %d", item.Size, source.Size)
	}
	item.Source = source.ID
	return source, nil
}

func (c *controller) volume(item *pool.Item, req *csi.CreateVolumeRequest) *csi.CreateVolumeResponse {
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:           item.ID,
		CapacityBytes:      item.Size,
		VolumeContext:      map[string]string{"backing": string(item.Backing)},
		ContentSource:      req.VolumeContentSource,
		AccessibleTopology: []*csi.Topology{c.topology()},
	}}
}

func (c *controller) reachable(req *csi.TopologyRequirement) bool {
	if len(req.GetRequisite()) == 0 {
		return true
	}
	here := c.topology().Segments
	return slices.ContainsFunc(req.Requisite, func(t *csi.Topology) bool {
		for key, value := range t.Segments {
			if here[key] != value {
				return false
			}
		}
		return true
	})
}

// DeleteVolume is FailedPrecondition while a loop device is on the volume.
func (c *controller) DeleteVolume(_ context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if req.VolumeId == "" {
		return nil, missing("volume id")
	}
	c.pool.Lock()
	defer c.pool.Unlock()
	item, err := c.pool.Get(req.VolumeId)
	if errors.Is(err, pool.ErrNotFound) || err == nil && item.Snapshot {
		return &csi.DeleteVolumeResponse{}, nil
	}
	var devices []string
	if err == nil {
		devices, err = c.pool.Devices(item)
	}
	if len(devices) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is in use on %v", item.ID, devices)
	}
	if err == nil {
		err = c.pool.Remove(item)
	}
	if err != nil {
		return nil, answer(err, req.VolumeId)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ValidateVolumeCapabilities confirms whatever is asked: one node has them all.
func (c *controller) ValidateVolumeCapabilities(_ context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if req.VolumeId == "" || len(req.VolumeCapabilities) == 0 {
		return nil, missing("volume id or capabilities")
	}
	if _, err := c.pool.Get(req.VolumeId); err != nil {
		return nil, answer(err, req.VolumeId)
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: req.VolumeCapabilities}}, nil
}

// GetCapacity is what the pool has free.
func (c *controller) GetCapacity(context.Context, *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	free, err := c.pool.Available()
	if err != nil {
		return nil, answer(err, "pool")
	}
	return &csi.GetCapacityResponse{AvailableCapacity: free}, nil
}

// ControllerExpandVolume makes a volume larger; smaller than it is is no change.
func (c *controller) ControllerExpandVolume(_ context.Context, req *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if req.VolumeId == "" || req.CapacityRange == nil {
		return nil, missing("volume id or capacity")
	}
	size, err := sizeFor(req.CapacityRange)
	if err != nil {
		return nil, err
	}
	c.pool.Lock()
	defer c.pool.Unlock()
	item, err := c.pool.Get(req.VolumeId)
	if err == nil && item.Snapshot {
		err = pool.ErrNotFound
	}
	if err == nil && size > item.Size {
		err = c.pool.Resize(item, size)
	}
	if err != nil {
		return nil, answer(err, req.VolumeId)
	}
	// An image has a loop device and perhaps a filesystem to grow as well.
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: item.Size, NodeExpansionRequired: item.Backing == pool.Image}, nil
}

// ListVolumes lists the volumes by id.
func (c *controller) ListVolumes(_ context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	items, err := c.pool.List()
	if err != nil {
		return nil, answer(err, "pool")
	}
	items = slices.DeleteFunc(items, func(i *pool.Item) bool { return i.Snapshot })
	items, next, err := page(items, req.StartingToken, req.MaxEntries)
	if err != nil {
		return nil, err
	}
	resp := &csi.ListVolumesResponse{NextToken: next}
	for _, i := range items {
		resp.Entries = append(resp.Entries, &csi.ListVolumesResponse_Entry{Volume: &csi.Volume{
			VolumeId: i.ID, CapacityBytes: i.Size, AccessibleTopology: []*csi.Topology{c.topology()}}})
	}
	return resp, nil
}

// page cuts a listing: the token is the place to go on from.
func page[T any](all []T, token string, most int32) ([]T, string, error) {
	from := 0
	if token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n < 0 || n > len(all) {
			return nil, "", status.Errorf(codes.Aborted, "starting token %q", token)
		}
		from = n
	}
	to, next := len(all), ""
	if most > 0 && from+int(most) < to {
		to = from + int(most)
		next = strconv.Itoa(to)
	}
	return all[from:to], next, nil
}
