// Package driver answers the CSI calls: identity, controller, group snapshots,
// node, and the kubelet's plugin registration.
//
// A call answers InvalidArgument when a needed field is missing, NotFound when
// an id names nothing, Internal when the machine failed; the rest is said where
// it is answered.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"ferry.test/testbed/cowcsi/internal/pool"
)

const version = "0.2.0"

// Config says who the driver is.
type Config struct {
	Name        string // of the driver, as StorageClasses have it
	Node        string // name of the one node
	KubeletRoot string // root directory of the kubelet
}

// Endpoint is the socket of the driver's services.
func (c Config) Endpoint() string {
	return filepath.Join(c.KubeletRoot, "plugins", c.Name, "csi.sock")
}

// topology says where a volume can be reached. The key carries the driver's
// name, so that two drivers in one cluster do not share it.
func (c Config) topology() *csi.Topology {
	return &csi.Topology{Segments: map[string]string{"topology." + c.Name + "/node": c.Node}}
}

// Driver is a running driver.
type Driver struct{ services, registrar *grpc.Server }

// Start serves the driver's calls and offers it to the kubelet.
func Start(config Config, storage *pool.Pool) (*Driver, error) {
	d := &Driver{services: grpc.NewServer(grpc.UnaryInterceptor(logCalls)), registrar: grpc.NewServer()}
	csi.RegisterIdentityServer(d.services, &identity{name: config.Name})
	csi.RegisterControllerServer(d.services, &controller{Config: config, pool: storage})
	csi.RegisterGroupControllerServer(d.services, &groups{pool: storage})
	csi.RegisterNodeServer(d.services, &node{Config: config, pool: storage})
	if err := serve(d.services, config.Endpoint()); err != nil {
		return nil, err
	}
	// The kubelet watches plugins_registry and calls back on the socket it
	// finds there. It is opened last: by then the driver answers.
	registerapi.RegisterRegistrationServer(d.registrar, &registration{config: config})
	return d, serve(d.registrar, filepath.Join(config.KubeletRoot, "plugins_registry", config.Name+"-reg.sock"))
}

// Stop ends the driver after the calls under way; volumes stay as they are.
func (d *Driver) Stop() {
	d.registrar.Stop()
	d.services.GracefulStop()
}

func serve(server *grpc.Server, socket string) error {
	// A Unix socket's address holds 107 bytes. A deep kubelet root goes past
	// that and the kernel's error ("invalid argument") does not say so.
	if len(socket) > 107 {
		return fmt.Errorf("socket path of %d bytes, at most 107: %s", len(socket), socket)
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatalf("serving %s: %v", socket, err)
		}
	}()
	return nil
}

// logCalls leaves one line per call that changes something or fails: the
// record a failing test is read against.
func logCalls(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	start := time.Now()
	resp, err := handle(ctx, req)
	switch method := filepath.Base(info.FullMethod); {
	case err != nil:
		log.Printf("%s %v failed: %v", method, time.Since(start).Round(time.Millisecond), err)
	case method == "Probe" || strings.Contains(method, "Get"): // asked all the time
	default:
		log.Printf("%s %v", method, time.Since(start).Round(time.Millisecond))
	}
	return resp, err
}

// missing is the answer to a call without a field it needs.
func missing(fields string) error {
	return status.Errorf(codes.InvalidArgument, "missing %s", fields)
}

// answer makes an error of the pool or the machine one that gRPC carries.
func answer(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pool.ErrNotFound):
		return status.Errorf(codes.NotFound, "%s: not found", what)
	case status.Code(err) != codes.Unknown:
		return err
	default:
		return status.Errorf(codes.Internal, "%s: %v", what, err)
	}
}
