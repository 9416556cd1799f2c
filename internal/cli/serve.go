package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"waybill/internal/server"
)

func newServe() *cobra.Command {
	var file string
	given := map[string]string{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker",
		Long: `Run the broker until SIGINT or SIGTERM. Without any configuration it listens on
the loopback interface, and keeps its data in ./waybill-data.

A setting is taken from its flag, else from its environment variable, else from
the configuration file, else it has its default. The variable of a flag is
WAYBILL_ and the flag's name (--data-dir is WAYBILL_DATA_DIR); the variable of a
key that has no flag is made of the key (kafka.num.partitions is
WAYBILL_KAFKA_NUM_PARTITIONS). docs/configuration.md lists all settings.`,
		Example: `  waybill serve
  waybill serve --data-dir /var/lib/waybill --amqp :5672
  waybill serve --config waybill.toml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, warnings, err := server.Load(server.Sources{File: file, Env: os.Environ(), Flags: given})
			if err != nil {
				return err
			}
			return server.Run(cmd.Context(), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr(), warnings...)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file, TOML; an unknown key is an error")
	defaults := server.DefaultConfig()
	for _, o := range defaults.Options() {
		if o.Flag != "" {
			addFlag(cmd.Flags(), o, given)
		}
	}
	return cmd
}

// addFlag adds the flag of an option; what the user gives is kept in given.
func addFlag(flags *pflag.FlagSet, o server.Option, given map[string]string) {
	f := flags.VarPF(&optionFlag{o, given}, o.Flag, "", o.Usage)
	f.DefValue = o.Show()
	if o.Bool() {
		f.NoOptDefVal = "true"
	}
}

// optionFlag is a flag that checks its value as the option does, and keeps it as
// text: what it beats is known only when all sources are read.
type optionFlag struct {
	option server.Option
	given  map[string]string
}

func (f *optionFlag) String() string { return f.given[f.option.Flag] }

func (f *optionFlag) Set(text string) error {
	if err := f.option.Check(text); err != nil {
		return err
	}
	f.given[f.option.Flag] = text
	return nil
}

func (f *optionFlag) Type() string {
	if f.option.Bool() {
		return "bool"
	}
	if f.option.Key == "data-dir" {
		return "directory"
	}
	if strings.HasSuffix(f.option.Key, ".listen") || strings.HasSuffix(f.option.Key, ".advertised") {
		return "host:port"
	}
	if f.option.Kind() == "list" {
		return "host:port,..."
	}
	if strings.HasPrefix(f.option.Key, "cluster.tls-") {
		return "file"
	}
	return "text"
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "waybill", server.Version)
			return err
		},
	}
}
