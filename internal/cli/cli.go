// Package cli is the command line of the waybill binary: what can be typed,
// and what comes back as text and exit code. The commands themselves are
// elsewhere (package server, package storage).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"waybill/internal/server"
)

// Exit codes of the process.
const (
	exitOK      = 0
	exitFailure = 1 // it was understood, and failed
	exitUsage   = 2 // the command line or the configuration is wrong
)

// errUsage marks a command line that is wrong.
var errUsage = errors.New("usage")

func usageError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w: %w (see %s --help)", errUsage, err, cmd.CommandPath())
}

// isUsage reports whether the user typed, or configured, what cannot be.
func isUsage(err error) bool {
	return errors.Is(err, errUsage) || errors.Is(err, server.ErrConfig)
}

// Main runs the command line and returns the exit code. SIGINT and SIGTERM end a
// running command in order; a second one ends the process at once.
func Main() int {
	if len(os.Args) > 1 && os.Args[1] == "serve" { // a node and nothing else
		server.CoarseTimers()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from now on the default holds again
	return Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// Run runs the command line args and returns the exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	root.PrintErrln("waybill:", err)
	if isUsage(err) {
		return exitUsage
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "waybill",
		Short: "A message broker for RabbitMQ and Kafka clients",
		Long: `Waybill serves AMQP 0-9-1 clients, as RabbitMQ does, and Kafka clients out of
one replicated log. An acknowledgement means that the message is on the disk.`,
		SilenceUsage:  true, // an error is one line, not a page
		SilenceErrors: true, // Run prints it
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(usageError)
	root.AddCommand(newServe(), newDev(), newVersion(), newHashPassword(), newBench(), newCluster(), newCerts(), newDebug())
	return root
}

// noArgs refuses what was typed too much, an unknown command included.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError(cmd, err)
	}
	return nil
}
