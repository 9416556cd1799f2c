package cli

import (
	"io"

	"github.com/spf13/cobra"

	"waybill/internal/storage"
	"waybill/internal/vfs"
)

func newDebug() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "debug",
		Short: "Look into the files of a data directory",
		Long: `Print files of a data directory readably. They are only read, so the broker may
be running.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newDump("wal", "wal", "a file of the write-ahead log: its batches and their entries", storage.DumpWAL),
		newDump("segment", "seg", "a segment: its entries, with indexes and offsets", storage.DumpSegment),
		newDump("checkpoint", "checkpoint", "a checkpoint: the state of every log at a moment", storage.DumpCheckpoint),
	)
	return cmd
}

// newDump makes the command that prints the files of one kind.
func newDump(name, dir, what string, dump func(io.Writer, vfs.FS, string) error) *cobra.Command {
	return &cobra.Command{
		Use:     name + " FILE...",
		Short:   "Print " + what,
		Example: "  waybill debug " + name + " waybill-data/" + dir + "/*",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MinimumNArgs(1)(cmd, args); err != nil {
				return usageError(cmd, err)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, file := range args {
				if err := dump(cmd.OutOrStdout(), vfs.OS{}, file); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
