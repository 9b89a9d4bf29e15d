package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"ferry.test/testbed/cowcsi/internal/host"
	"ferry.test/testbed/cowcsi/internal/pool"
)

type node struct {
	csi.UnimplementedNodeServer
	Config
	pool *pool.Pool
}

// NodeGetCapabilities says which calls of this service work.
func (n *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	resp := new(csi.NodeGetCapabilitiesResponse)
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		resp.Capabilities = append(resp.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}}})
	}
	return resp, nil
}

// NodeGetInfo says which node this is.
func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.Node, AccessibleTopology: n.topology()}, nil
}

// NodeStageVolume makes the volume present once per node: a loop device for an
// image, and for a filesystem the mount that every pod's own mount binds to.
func (n *node) NodeStageVolume(_ context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if req.VolumeId == "" || req.StagingTargetPath == "" || req.VolumeCapability == nil {
		return nil, missing("volume id, staging path or capability")
	}
	n.pool.Lock()
	defer n.pool.Unlock()
	item, err := n.pool.Get(req.VolumeId)
	if err == nil {
		err = n.stage(item, req.StagingTargetPath, req.VolumeCapability)
	}
	if err != nil {
		return nil, answer(err, req.VolumeId)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *node) stage(item *pool.Item, staging string, capability *csi.VolumeCapability) error {
	device := ""
	if item.Backing == pool.Image {
		var err error
		if device, err = n.pool.Attach(item); err != nil {
			return err
		}
	}
	if capability.GetBlock() != nil {
		return nil
	}
	mounted, err := host.IsMounted(staging)
	if err != nil || mounted {
		return err
	}
	if err := os.MkdirAll(staging, 0o750); err != nil {
		return err
	}
	if item.Backing == pool.Subvolume {
		return host.Bind(n.pool.Path(item), staging, false)
	}
	copied := item.Source != ""
	fstype, err := format(device, capability.GetMount().GetFsType(), copied)
	if err != nil {
		return err
	}
	return mountDevice(device, fstype, staging, capability.GetMount().GetMountFlags(), copied)
}

// NodeUnstageVolume undoes NodeStageVolume.
func (n *node) NodeUnstageVolume(_ context.Context, req *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if req.VolumeId == "" || req.StagingTargetPath == "" {
		return nil, missing("volume id or staging path")
	}
	n.pool.Lock()
	defer n.pool.Unlock()
	err := host.Unmount(req.StagingTargetPath)
	if err == nil {
		var item *pool.Item
		item, err = n.pool.Get(req.VolumeId)
		if err == nil && item.Backing == pool.Image {
			err = n.pool.Detach(item)
		}
		if errors.Is(err, pool.ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		return nil, answer(err, req.VolumeId)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// NodePublishVolume gives one pod the volume at its target path.
func (n *node) NodePublishVolume(_ context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if req.VolumeId == "" || req.TargetPath == "" || req.VolumeCapability == nil {
		return nil, missing("volume id, target path or capability")
	}
	n.pool.Lock()
	defer n.pool.Unlock()
	item, err := n.pool.Get(req.VolumeId)
	if err == nil {
		err = n.publish(item, req)
	}
	if err != nil {
		return nil, answer(err, req.VolumeId)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *node) publish(item *pool.Item, req *csi.NodePublishVolumeRequest) error {
	mounted, err := host.IsMounted(req.TargetPath)
	if err != nil || mounted {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(req.TargetPath), 0o750); err != nil {
		return err
	}
	mode := req.VolumeCapability.GetAccessMode().GetMode()
	readOnly := req.Readonly || mode == csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY ||
		mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	if req.VolumeCapability.GetBlock() != nil {
		return n.publishBlock(item, req.TargetPath, readOnly)
	}
	if err := os.MkdirAll(req.TargetPath, 0o750); err != nil {
		return err
	}
	return host.Bind(req.StagingTargetPath, req.TargetPath, readOnly)
}

// publishBlock makes the target a file that is the device, as the kubelet wants it.
func (n *node) publishBlock(item *pool.Item, target string, readOnly bool) error {
	device, err := n.pool.Attach(item)
	if err != nil {
		return err
	}
	if readOnly {
		// A read-only bind mount does not keep anyone from writing to the
		// device behind it; the device itself has to refuse.
		if _, err := host.Run("blockdev", "--setro", device); err != nil {
			return err
		}
	}
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		return err
	}
	return host.Bind(device, target, false)
}

// NodeUnpublishVolume undoes NodePublishVolume.
func (n *node) NodeUnpublishVolume(_ context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if req.VolumeId == "" || req.TargetPath == "" {
		return nil, missing("volume id or target path")
	}
	n.pool.Lock()
	defer n.pool.Unlock()
	err := host.Unmount(req.TargetPath)
	if err == nil {
		if err = os.Remove(req.TargetPath); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return nil, answer(err, req.VolumeId)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeGetVolumeStats says how full a volume is.
func (n *node) NodeGetVolumeStats(_ context.Context, req *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if req.VolumeId == "" || req.VolumePath == "" {
		return nil, missing("volume id or path")
	}
	item, err := n.pool.Get(req.VolumeId)
	if err != nil {
		return nil, answer(err, req.VolumeId)
	}
	isDir, err := isDirectory(req.VolumePath)
	if err != nil {
		return nil, answer(err, req.VolumePath)
	}
	usage := &csi.VolumeUsage{Unit: csi.VolumeUsage_BYTES, Total: item.Size}
	resp := &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{usage}}
	switch {
	case !isDir: // a block device: its use is its owner's business
	case item.Backing == pool.Subvolume:
		// statfs would tell of the whole pool, and btrfs counts no inodes.
		if usage.Used, err = n.pool.Usage(req.VolumePath); err != nil {
			return nil, answer(err, req.VolumeId)
		}
		usage.Available = max(0, usage.Total-usage.Used)
	default:
		var st unix.Statfs_t
		if err := unix.Statfs(req.VolumePath, &st); err != nil {
			return nil, answer(err, req.VolumePath)
		}
		usage.Total = int64(st.Blocks) * st.Bsize
		usage.Used = int64(st.Blocks-st.Bfree) * st.Bsize
		usage.Available = int64(st.Bavail) * st.Bsize
		resp.Usage = append(resp.Usage, &csi.VolumeUsage{Unit: csi.VolumeUsage_INODES,
			Total: int64(st.Files), Used: int64(st.Files - st.Ffree), Available: int64(st.Ffree)})
	}
	return resp, nil
}

// isDirectory is pool.ErrNotFound for a path that is not there.
func isDirectory(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, pool.ErrNotFound
	}
	if err != nil {
		return false, fmt.Errorf("looking at %s: %w", path, err)
	}
	return info.IsDir(), nil
}

// NodeExpandVolume makes the device and the filesystem of a resized volume larger.
func (n *node) NodeExpandVolume(_ context.Context, req *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if req.VolumeId == "" || req.VolumePath == "" {
		return nil, missing("volume id or path")
	}
	n.pool.Lock()
	defer n.pool.Unlock()
	item, err := n.pool.Get(req.VolumeId)
	if err != nil {
		return nil, answer(err, req.VolumeId)
	}
	if err := n.expand(item, req.VolumePath); err != nil {
		return nil, answer(err, req.VolumePath)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: item.Size}, nil
}

func (n *node) expand(item *pool.Item, path string) error {
	isDir, err := isDirectory(path)
	if err != nil || item.Backing != pool.Image {
		return err
	}
	device, err := n.pool.Attach(item)
	if err != nil {
		return err
	}
	fstype := ""
	if isDir {
		if fstype, err = filesystemOn(device); err != nil {
			return err
		}
	}
	return grow(fstype, device, path)
}
