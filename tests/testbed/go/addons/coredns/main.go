// Command coredns is CoreDNS with the plugins a cluster's DNS service needs
// and no others: the stock build links four clouds' client libraries, which
// would double the time this directory takes to compile.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func init() {
	// The order in which a query passes the plugins, as in the stock build.
	dnsserver.Directives = []string{"bind", "health", "ready", "errors", "cache", "template", "hosts", "kubernetes"}
}

func main() {
	coremain.Run()
}
