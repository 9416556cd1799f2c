package cli

import (
	"github.com/spf13/cobra"
)

func newDebug() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "debug",
		Short: "Look into the files of a data directory",
		Long: `Print a file of a data directory readably. The file is only read; the broker may
be running.`,
	}
	return cmd
}
