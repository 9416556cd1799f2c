package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"waybill/internal/admin"
)

func newCluster() *cobra.Command {
	api := &apiClient{}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Look at the cluster, and change it",
		Long: `Ask a node about the cluster, or have it changed. Any node will do: it hands on
what another one has to do. A change returns when it is decided; moving replicas
and leaders goes on after that, and status tells how far it is.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	api.flags(cmd.PersistentFlags())
	cmd.AddCommand(newClusterStatus(api), newClusterGroups(api), newClusterAdd(api),
		nodeCommand(api, "remove", "Take a node out for good", `Take a node out for good: its leaders move first, then its replicas, then it is
no member any more. Without a node to take them, replicas are lost and not
replaced, so that fewer copies are left; status shows them as under-replicated.`),
		nodeCommand(api, "replace", "Give up a lost disk", `Give up the replicas of a node whose data directory is lost. Start the node
again with an empty one: it gets a new replica id and copies everything back.`),
		newClusterDrain(api), newClusterTransfer(api),
		&cobra.Command{
			Use:   "rebalance",
			Short: "Spread replicas and leaders evenly again",
			Args:  noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return api.call(cmd.Context(), http.MethodPost, "/api/cluster/rebalance", map[string]any{}, nil)
			},
		})
	return cmd
}

// nodeArg reads the one argument that is a node's id.
func nodeArg(cmd *cobra.Command, args []string) (uint64, error) {
	if len(args) != 1 {
		return 0, usageError(cmd, fmt.Errorf("one node id is needed"))
	}
	id, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil || id == 0 {
		return 0, usageError(cmd, fmt.Errorf("%q is not a node id", args[0]))
	}
	return id, nil
}

// nodeCommand is a change that needs a node and nothing else.
func nodeCommand(api *apiClient, verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NODE",
		Short: short,
		Long:  long,
		RunE: func(cmd *cobra.Command, args []string) error {
			node, err := nodeArg(cmd, args)
			if err != nil {
				return err
			}
			return api.call(cmd.Context(), http.MethodPost, "/api/cluster/"+verb, map[string]any{"node": node}, nil)
		},
	}
}

func newClusterDrain(api *apiClient) *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Move all leaders off a node",
		Long: `Move all leaders off a node and keep new ones away, so that it can be stopped
without anybody waiting for an election. --undo lets them come back.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			node, err := nodeArg(cmd, args)
			if err != nil {
				return err
			}
			return api.call(cmd.Context(), http.MethodPost, "/api/cluster/drain", map[string]any{"node": node, "undo": undo}, nil)
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "let leaders come back")
	return cmd
}

func newClusterTransfer(api *apiClient) *cobra.Command {
	var to uint64
	cmd := &cobra.Command{
		Use:   "transfer LOG",
		Short: "Move the leadership of one log",
		Long: `Move the leadership of one log, a queue's or a partition's, to another node. "waybill cluster groups" lists the logs.
A node that is named is preferred as the leader from then on.`,
		Example: `  waybill cluster transfer 12 --to 3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, fmt.Errorf("one log is needed"))
			}
			log, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || log == 0 {
				return usageError(cmd, fmt.Errorf("%q is not a log's number", args[0]))
			}
			return api.call(cmd.Context(), http.MethodPost, "/api/cluster/transfer", map[string]any{"log": log, "to": to}, nil)
		},
	}
	cmd.Flags().Uint64Var(&to, "to", 0, "node that shall lead it; without it any other one that is up to date")
	return cmd
}

// newClusterAdd tells how to add a node: joining is what a node does itself, when it starts.
func newClusterAdd(api *apiClient) *cobra.Command {
	return &cobra.Command{
		Use:   "add",
		Short: "Tell how to add a node",
		Long: `Print the command that adds a node. A node joins by itself when it is started
with the addresses of members; nothing has to be done on them before.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var status admin.ClusterStatus
			if err := api.call(cmd.Context(), http.MethodGet, "/api/cluster", nil, &status); err != nil {
				return err
			}
			next, join := uint64(1), []string{}
			for _, n := range status.Nodes {
				next = max(next, n.ID+1)
				if n.State != "removing" {
					join = append(join, n.Address)
				}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), `Start the new node with an empty data directory, and with certificates of the cluster's authority
when it is on another machine:

  waybill serve --node-id %d --cluster-listen HOST:PORT --join %s

"waybill cluster status" shows it, and the replicas that it is given once "waybill cluster rebalance" is run.
`, next, strings.Join(join, ","))
			return err
		},
	}
}

func newClusterStatus(api *apiClient) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes, who leads, and what is not as it should be",
		Long: `Show the nodes, who leads, and what is not as it should be. The exit code is 1
when a node is down, a raft group has no leader, or one has fewer replicas than
it should have.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var status admin.ClusterStatus
			if err := api.call(cmd.Context(), http.MethodGet, "/api/cluster", nil, &status); err != nil {
				return err
			}
			if err := show(cmd.OutOrStdout(), asJSON, status, showStatus); err != nil {
				return err
			}
			return unhealthy(status)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newClusterGroups(api *apiClient) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "List the raft groups: log, what it is, leader, replicas",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var groups []admin.ClusterGroup
			if err := api.call(cmd.Context(), http.MethodGet, "/api/cluster/groups", nil, &groups); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), asJSON, groups, showGroups)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// show prints v as JSON, or as a table.
func show[T any](out io.Writer, asJSON bool, v T, table func(*strings.Builder, T)) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	var text strings.Builder
	table(&text, v)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(w, text.String()); err != nil {
		return err
	}
	return w.Flush()
}

func showStatus(w *strings.Builder, s admin.ClusterStatus) {
	fmt.Fprintf(w, "cluster %s, seen by node %d, catalog led by %s, %d raft groups\n\n", s.Cluster, s.Asked, nodeName(s.CatalogLeader), s.Groups)
	fmt.Fprintln(w, "NODE\tREPLICA\tSTATE\tUP\tLEADERS\tREPLICAS\tADDRESS\tAMQP\tKAFKA\tHTTP")
	for _, n := range s.Nodes {
		up := "up"
		if !n.Up {
			up = "DOWN"
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", n.ID, n.Replica, n.State, up, n.Leaders, n.Replicas, n.Address, n.AMQP, n.Kafka, n.HTTP)
	}
	showNames(w, "without a leader", s.Leaderless, s.LeaderlessTotal)
	showNames(w, "with fewer replicas than it should have", s.UnderReplicated, s.UnderReplicatedTotal)
}

// showNames lists raft groups in trouble.
func showNames(w *strings.Builder, trouble string, names []string, total int) {
	if total == 0 {
		return
	}
	fmt.Fprintf(w, "\n%d %s:\n", total, trouble)
	for _, name := range names {
		fmt.Fprintf(w, "  %s\n", name)
	}
	if more := total - len(names); more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
}

func showGroups(w *strings.Builder, groups []admin.ClusterGroup) {
	fmt.Fprintln(w, "LOG\tWHAT\tLEADER\tTERM\tREPLICAS\tLIVE")
	for _, g := range groups {
		nodes := make([]string, len(g.Replicas))
		for i, n := range g.Replicas {
			nodes[i] = strconv.FormatUint(n, 10)
		}
		live := "?"
		if g.Live >= 0 {
			live = strconv.Itoa(g.Live)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\n", g.Log, g.What, nodeName(g.Leader), g.Term, strings.Join(nodes, ","), live)
	}
}

func nodeName(id uint64) string {
	if id == 0 {
		return "nobody"
	}
	return "node " + strconv.FormatUint(id, 10)
}

// unhealthy tells what is wrong, so that scripts see it in the exit code.
func unhealthy(s admin.ClusterStatus) error {
	down := 0
	for _, n := range s.Nodes {
		if !n.Up {
			down++
		}
	}
	if down == 0 && s.LeaderlessTotal == 0 && s.UnderReplicatedTotal == 0 {
		return nil
	}
	return fmt.Errorf("%d nodes are down, %d raft groups have no leader, %d have fewer replicas than they should",
		down, s.LeaderlessTotal, s.UnderReplicatedTotal)
}
