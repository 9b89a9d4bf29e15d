// Package host is the machine below the driver: commands, mounts, loop devices.
// The kernel is asked each time; a list of our own would be wrong after a restart.
package host

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// Run runs a command and gives its standard output. The error says what was
// run and what the command wrote to standard error; errors.As finds the
// *exec.ExitError in it.
func Run(name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
