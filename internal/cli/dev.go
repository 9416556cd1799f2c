package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// devPortStep is between the ports of one node and those of the next.
const devPortStep = 10

// devReady is how long the nodes may take to find each other and be ready.
const devReady = 60 * time.Second

func newDev() *cobra.Command {
	d := &dev{}
	var basePort int
	cmd := &cobra.Command{
		Use:   "dev [-- serve flags]",
		Short: "Run a whole cluster on this machine, to try it out",
		Long: `Run a cluster on this machine: each node is a process of its own, as it would be
on a machine of its own. The ports of node k are the usual ones + 10·(k−1), and
7200 + 10·(k−1) between the nodes. SIGINT or SIGTERM stops them all. A node that
ends by itself is reported and not started again; the others go on, and that is
what there is to see.

What follows -- is given to every node.`,
		Example: `  waybill dev
  waybill dev --nodes 5 --data-dir /tmp/five -- --log-level debug`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.nodes < 1 || d.nodes > 9 {
				return usageError(cmd, errors.New("--nodes: from 1 to 9"))
			}
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usageError(cmd, fmt.Errorf("unknown argument %q; flags of serve follow --", args[0]))
			}
			d.extra, d.ports = args, devPorts(basePort)
			d.out = &lineWriter{to: cmd.OutOrStdout()}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().IntVar(&d.nodes, "nodes", 3, "how many nodes")
	cmd.Flags().StringVar(&d.dir, "data-dir", "./waybill-dev", "directory with a data directory for each node")
	cmd.Flags().IntVar(&basePort, "base-port", 0, "use the ports from this one on instead of the usual ones: AMQP, Kafka, HTTP, node to node")
	return cmd
}

// devPort is the port of the first node for each of its listeners.
type devPort struct{ amqp, kafka, http, cluster int }

func devPorts(base int) devPort {
	if base == 0 {
		return devPort{5672, 9092, 15672, 7200}
	}
	return devPort{base, base + 1, base + 2, base + 3}
}

// dev is a cluster of child processes.
type dev struct {
	nodes int
	dir   string
	ports devPort
	extra []string
	out   *lineWriter

	children []*devNode
	exits    chan *devNode // the children that have ended
}

// run runs the nodes until ctx ends, or until the last of them has.
func (d *dev) run(ctx context.Context) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	d.exits = make(chan *devNode, d.nodes)
	defer d.stop()
	for k := 1; k <= d.nodes; k++ {
		n := &devNode{id: k, args: d.serveArgs(k), http: devAddr(d.ports.http, k), out: d.out.node(k), exited: make(chan struct{})}
		if err := n.start(binary, d.exits); err != nil {
			return fmt.Errorf("node %d: %w", k, err)
		}
		d.children = append(d.children, n)
	}
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil // told to stop before that
	}
	d.out.print(d.banner())
	return d.watch(ctx)
}

func devAddr(first, k int) string {
	return "127.0.0.1:" + strconv.Itoa(first+devPortStep*(k-1))
}

func (d *dev) serveArgs(k int) []string {
	var join []string
	for other := 1; other <= d.nodes; other++ {
		join = append(join, devAddr(d.ports.cluster, other))
	}
	args := []string{
		"serve",
		"--data-dir", filepath.Join(d.dir, fmt.Sprint("node", k)),
		"--amqp", devAddr(d.ports.amqp, k), "--kafka", devAddr(d.ports.kafka, k), "--http", devAddr(d.ports.http, k),
	}
	if d.nodes > 1 {
		args = append(args, "--node-id", strconv.Itoa(k), "--cluster-listen", devAddr(d.ports.cluster, k), "--join", strings.Join(join, ","))
	}
	return append(args, d.extra...)
}

// awaitReady waits until every node serves clients.
func (d *dev) awaitReady(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, devReady, fmt.Errorf("the nodes are not ready after %v; their logs above say why", devReady))
	defer cancel()
	for _, n := range d.children {
		for !n.ready(limited) {
			select {
			case dead := <-d.exits:
				return fmt.Errorf("node %d ended before the cluster was ready: %w", dead.id, dead.status)
			case <-limited.Done():
				if ctx.Err() != nil { // it was told to stop
					return nil
				}
				return context.Cause(limited)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// watch reports nodes that end, until ctx ends or none is left.
func (d *dev) watch(ctx context.Context) error {
	for left := len(d.children); left > 0; {
		select {
		case <-ctx.Done():
			return nil
		case n := <-d.exits:
			left--
			d.out.print(fmt.Sprintf("node %d ended by itself (%v); %d of %d are left\n", n.id, n.status, left, d.nodes))
		}
	}
	return errors.New("all nodes have ended")
}

// stop stops the nodes that still run, all at once, and waits.
func (d *dev) stop() {
	var stopping sync.WaitGroup
	for _, n := range d.children {
		stopping.Go(n.stop)
	}
	stopping.Wait()
}

func (d *dev) banner() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe cluster is ready, with its data in %s:\n\n", d.dir)
	for k := 1; k <= d.nodes; k++ {
		fmt.Fprintf(&b, "  node %d   amqp://guest:guest@%s   Kafka %s   http://%s\n",
			k, devAddr(d.ports.amqp, k), devAddr(d.ports.kafka, k), devAddr(d.ports.http, k))
	}
	fmt.Fprintf(&b, "\n  waybill cluster status --url http://guest:guest@%s\n\n", devAddr(d.ports.http, 1))
	return b.String()
}

// ready asks the node whether it serves.
func (n *devNode) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close() //nolint:errcheck // only the status is wanted
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode == http.StatusOK
}
