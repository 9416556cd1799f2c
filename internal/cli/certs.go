package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"waybill/internal/transport"
)

func newCerts() *cobra.Command {
	var dir string
	var nodes, hosts []string
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Make the certificates with which nodes know each other",
		Long: `Make an authority (ca.crt, ca.key) and, signed by it, a certificate and key for
each node (node-3.crt, node-3.key). A node needs its own two and ca.crt; ca.key
belongs in a safe, as whoever has it can make nodes of this cluster.

An authority that is in the directory is used, so that a node that comes later
gets its certificate with the same command. What is there is never overwritten.

A node is known by its number, not by its name: --hosts is for other programs
that look at the certificate.`,
		Example: `  waybill certs --dir certs --nodes 1,2,3
  waybill serve --node-id 1 --tls-cert certs/node-1.crt --tls-key certs/node-1.key --tls-ca certs/ca.crt ...`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var ids []uint64
			for _, text := range nodes {
				id, err := strconv.ParseUint(text, 10, 31)
				if err != nil || id == 0 {
					return usageError(cmd, fmt.Errorf("--nodes: %q is not the number of a node", text))
				}
				ids = append(ids, id)
			}
			if len(ids) == 0 {
				return usageError(cmd, errors.New("--nodes: for which nodes?"))
			}
			made, err := transport.MakeCertificates(dir, ids, hosts)
			for _, name := range made {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), name); err != nil {
					return err
				}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "./certs", "directory for the files")
	cmd.Flags().StringSliceVar(&nodes, "nodes", nil, "numbers of the nodes, as 1,2,3")
	cmd.Flags().StringSliceVar(&hosts, "hosts", nil, "names and IP addresses for the certificates to bear as well")
	return cmd
}
