// Command shop is every program of the example application in one static
// binary: the web page, the Jobs that fill its volumes, and the small tools
// with which a test reads the data back. One binary keeps the image at one
// layer and a few megabytes; which part runs is the container's first argument.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `usage: shop COMMAND
  serve               the web page on :8080 (the default)
  seed                create and fill the tables, once; a second call changes nothing
  report              print the orders' count and digest
  load [SECONDS]      count upwards in a table, one commit each (default: until stopped)
  fill-files DIR      make the tree of awkward files in DIR
  fill-raw DEVICE     write known bytes at known places of a block device
  manifest PATH...    print one line per file (or one for a device), digests included
  get URL             print what a web server answers
  hold                wait for SIGTERM and keep volumes mounted meanwhile
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		args = []string{"serve"}
	}
	command, rest := args[0], args[1:]
	switch {
	case command == "serve" && len(rest) == 0:
		return serve(ctx)
	case command == "seed" && len(rest) == 0:
		return seed(ctx)
	case command == "report" && len(rest) == 0:
		return report(ctx)
	case command == "load" && len(rest) <= 1:
		return load(ctx, rest)
	case command == "fill-files" && len(rest) == 1:
		return fillFiles(rest[0])
	case command == "fill-raw" && len(rest) == 1:
		return fillRaw(rest[0])
	case command == "manifest" && len(rest) > 0:
		return printManifests(rest)
	case command == "get" && len(rest) == 1:
		return get(ctx, rest[0])
	case command == "hold" && len(rest) == 0:
		<-ctx.Done()
		return nil
	}
	fmt.Fprint(os.Stderr, usage)
	return errors.New("unknown command or wrong number of arguments")
}

// get stands in for curl, which the image does not have.
func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	return nil
}
