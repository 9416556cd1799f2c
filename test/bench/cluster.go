package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The clusters, by name. Each has three nodes on this machine, and three replicas of everything.
const (
	waybill3 = "Waybill, three nodes"
	rabbit3  = "RabbitMQ, three nodes"
	kafka3   = "Kafka, three nodes"

	clusterSize = 3
)

// cluster is a broker of several nodes.
type cluster struct {
	nodes  []clusterNode
	leader func(context.Context, *cluster) (int, error) // who leads the queue or partition that is measured
	// transfer moves that leadership in order; nil: it cannot be told to.
	transfer func(context.Context, *cluster, int) error
	healthy  func(context.Context, *cluster) error
}

// clusterNode is one of them.
type clusterNode struct {
	amqp, kafka, http string
	process           int // its place in broker.procs
	start             func() error
}

// addClusters adds the clusters to the brokers.
func addClusters(all map[string]*broker, dir, binary, jars string) {
	all[waybill3] = &broker{launch: launchWaybill3(filepath.Join(dir, "waybill-3"), binary)}
	all[rabbit3] = &broker{launch: launchRabbit3(filepath.Join(dir, "rabbitmq-3"))}
	all[kafka3] = &broker{launch: launchKafka3(filepath.Join(dir, "kafka-3"), jars)}
}

// launchNodes starts all nodes. A node is started again in its old place.
func (b *broker) launchNodes(c *cluster) error {
	b.cluster = c
	for i := range c.nodes {
		if err := b.startNode(i); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	b.amqp, b.kafka = c.nodes[0].amqp, c.nodes[0].kafka
	return nil
}

func (b *broker) startNode(i int) error {
	n := &b.cluster.nodes[i]
	before := len(b.procs)
	if err := n.start(); err != nil {
		return err
	}
	if n.process < 0 { // for the first time
		n.process = before
		return nil
	}
	b.procs[n.process] = b.procs[before] // in its old place
	b.procs = b.procs[:before]
	return nil
}

// kill ends a node as a crash does.
func (b *broker) kill(i int) error {
	p := b.procs[b.cluster.nodes[i].process]
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	<-p.exited
	return nil
}

func loopback(port string) string { return "127.0.0.1:" + port }

func launchWaybill3(dir, binary string) func(*broker) error {
	return func(b *broker) error {
		ports, err := freePorts(4 * clusterSize)
		if err != nil {
			return err
		}
		c := &cluster{leader: waybillLeader, transfer: waybillTransfer, healthy: waybillHealthy}
		var join []string
		for i := range clusterSize {
			join = append(join, loopback(ports[4*i+3]))
		}
		for i := range clusterSize {
			n := clusterNode{amqp: loopback(ports[4*i]), kafka: loopback(ports[4*i+1]), http: loopback(ports[4*i+2]), process: -1}
			home := filepath.Join(dir, fmt.Sprint("node", i+1))
			if err := os.MkdirAll(home, 0o755); err != nil {
				return err
			}
			n.start = func() error {
				return b.run(home, nil, binary, "serve", "--data-dir", filepath.Join(home, "data"),
					"--node-id", fmt.Sprint(i+1), "--cluster-listen", join[i], "--join", strings.Join(join, ","),
					"--amqp", n.amqp, "--kafka", n.kafka, "--http", n.http)
			}
			c.nodes = append(c.nodes, n)
		}
		if err := b.launchNodes(c); err != nil {
			return err
		}
		return c.await(waybillHealthy)
	}
}

// await waits until the cluster is healthy.
func (c *cluster) await(healthy func(context.Context, *cluster) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	for {
		err := healthy(ctx, c)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster does not become healthy: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// waybillAsk asks a node over HTTP.
func waybillAsk(ctx context.Context, addr, method, path, body string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth("guest", "guest")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// waybillGroup is the raft group that is measured.
type waybillGroup struct {
	Log    uint64 `json:"log"`
	What   string `json:"what"`
	Leader int    `json:"leader"`
}

func waybillFind(ctx context.Context, c *cluster) (g waybillGroup, err error) {
	for _, n := range c.nodes {
		var all []waybillGroup
		if err = waybillAsk(ctx, n.http, http.MethodGet, "/api/cluster/groups", "", &all); err != nil {
			continue
		}
		for _, g := range all {
			if strings.Contains(g.What, failoverName) && g.Leader > 0 {
				return g, nil
			}
		}
		err = fmt.Errorf("there is no leader of %s", failoverName)
	}
	return g, err
}

func waybillLeader(ctx context.Context, c *cluster) (int, error) {
	g, err := waybillFind(ctx, c)
	return g.Leader - 1, err
}

func waybillTransfer(ctx context.Context, c *cluster, to int) error {
	g, err := waybillFind(ctx, c)
	if err != nil {
		return err
	}
	return waybillAsk(ctx, c.nodes[to].http, http.MethodPost, "/api/cluster/transfer", fmt.Sprintf(`{"log":%d,"to":%d}`, g.Log, to+1), nil)
}

func waybillHealthy(ctx context.Context, c *cluster) error {
	for i, n := range c.nodes {
		var s struct {
			Nodes []struct {
				ID uint64 `json:"id"`
				Up bool   `json:"up"`
			} `json:"nodes"`
			Leaderless      int `json:"leaderless_total"`
			UnderReplicated int `json:"under_replicated_total"`
		}
		if err := waybillAsk(ctx, n.http, http.MethodGet, "/api/cluster", "", &s); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
		for _, m := range s.Nodes {
			if !m.Up {
				return fmt.Errorf("node %d sees node %d down", i+1, m.ID)
			}
		}
		if len(s.Nodes) < len(c.nodes) || s.Leaderless+s.UnderReplicated > 0 {
			return fmt.Errorf("node %d: %d nodes, %d groups without leader, %d with too few replicas", i+1, len(s.Nodes), s.Leaderless, s.UnderReplicated)
		}
	}
	return nil
}

// launchRabbit3 runs three nodes beside one port mapper of their own, and joins them.
func launchRabbit3(dir string) func(*broker) error {
	return func(b *broker) error {
		ports, err := freePorts(2*clusterSize + 1)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		mapper := ports[2*clusterSize]
		common := []string{
			"HOME=" + dir, "ERL_EPMD_PORT=" + mapper, "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
			"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"),
			"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "none"), "RABBITMQ_CONF_ENV_FILE=" + filepath.Join(dir, "none"),
			"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"),
		}
		if err := b.run(dir, common, "epmd", "-port", mapper, "-address", "127.0.0.1"); err != nil {
			return err
		}
		ctl := func(ctx context.Context, node int, args ...string) (string, error) {
			cmd := exec.CommandContext(ctx, "/usr/lib/rabbitmq/bin/rabbitmqctl", append([]string{"-q", "-n", rabbitName(node)}, args...)...)
			cmd.Env = append(os.Environ(), common...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return "", fmt.Errorf("rabbitmqctl %v: %w\n%s", args, err, out)
			}
			return string(out), nil
		}
		c := &cluster{
			leader:  func(ctx context.Context, c *cluster) (int, error) { return rabbitLeader(ctx, ctl) },
			healthy: func(ctx context.Context, c *cluster) error { return rabbitHealthy(ctx, ctl) },
		}
		for i := range clusterSize {
			env := append(append([]string{}, common...), "RABBITMQ_NODENAME="+rabbitName(i),
				"RABBITMQ_NODE_PORT="+ports[2*i], "RABBITMQ_DIST_PORT="+ports[2*i+1])
			c.nodes = append(c.nodes, clusterNode{amqp: loopback(ports[2*i]), process: -1,
				start: func() error { return b.run(dir, env, "/usr/lib/rabbitmq/bin/rabbitmq-server") }})
		}
		if err := b.launchNodes(c); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*readyTime)
		defer cancel()
		for i, n := range c.nodes {
			if err := awaitListener(ctx, n.amqp); err != nil {
				return err
			}
			for _, args := range [][]string{{"stop_app"}, {"join_cluster", rabbitName(0)}, {"start_app"}} {
				if i == 0 {
					break
				}
				if _, err := ctl(ctx, i, args...); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func rabbitName(node int) string { return fmt.Sprintf("waybill-peer-%d@localhost", node+1) }

type rabbitCtl func(context.Context, int, ...string) (string, error)

func rabbitLeader(ctx context.Context, ctl rabbitCtl) (int, error) {
	var last error
	for ask := range clusterSize {
		out, err := ctl(ctx, ask, "list_queues", "name", "leader")
		if err != nil {
			last = err
			continue
		}
		for line := range strings.Lines(out) {
			name, leader, _ := strings.Cut(strings.TrimSpace(line), "\t")
			for i := range clusterSize {
				if strings.Contains(name, failoverName) && leader == rabbitName(i) {
					return i, nil
				}
			}
		}
	}
	return 0, errors.Join(last, fmt.Errorf("there is no leader of %s", failoverName))
}

func rabbitHealthy(ctx context.Context, ctl rabbitCtl) error {
	for i := range clusterSize {
		if _, err := ctl(ctx, i, "await_startup"); err != nil {
			return err
		}
	}
	return nil
}

// launchKafka3 runs three nodes that are broker and controller at once: three replicas, of which
// two must be in sync, and none is told to flush.
func launchKafka3(dir, jars string) func(*broker) error {
	return func(b *broker) error {
		jars, err := filepath.Abs(jars)
		if err != nil {
			return err
		}
		ports, err := freePorts(2 * clusterSize)
		if err != nil {
			return err
		}
		java := []string{"-cp", jars + "/*", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC"}
		id, err := exec.Command("java", append(java, "kafka.tools.StorageTool", "random-uuid")...).Output()
		if err != nil {
			return fmt.Errorf("a cluster id: %w", err)
		}
		var voters []string
		for i := range clusterSize {
			voters = append(voters, fmt.Sprintf("%d@%s", i+1, loopback(ports[2*i+1])))
		}
		c := &cluster{leader: kafkaLeader, healthy: kafkaHealthy}
		for i := range clusterSize {
			n := clusterNode{kafka: loopback(ports[2*i]), process: -1}
			home := filepath.Join(dir, fmt.Sprint("node", i+1))
			config := filepath.Join(home, "server.properties")
			lines := []string{
				"process.roles=broker,controller", fmt.Sprint("node.id=", i+1),
				"listeners=PLAINTEXT://" + n.kafka + ",CONTROLLER://" + loopback(ports[2*i+1]),
				"controller.listener.names=CONTROLLER", "controller.quorum.voters=" + strings.Join(voters, ","),
				"log.dirs=" + filepath.Join(home, "data"), "default.replication.factor=3", "min.insync.replicas=2",
				"offsets.topic.replication.factor=3",
			}
			if err := os.MkdirAll(home, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
				return err
			}
			format := exec.Command("java", append(java, "kafka.tools.StorageTool", "format", "-t", strings.TrimSpace(string(id)), "-c", config)...)
			if out, err := format.CombinedOutput(); err != nil {
				return fmt.Errorf("format: %w\n%s", err, out)
			}
			n.start = func() error { return b.run(home, nil, "java", append(java, "kafka.Kafka", config)...) }
			c.nodes = append(c.nodes, n)
		}
		if err := b.launchNodes(c); err != nil {
			return err
		}
		return c.await(kafkaHealthy)
	}
}

// kafkaAdmin makes a client for a question.
func (c *cluster) kafkaAdmin() (*kadm.Client, error) {
	var seeds []string
	for _, n := range c.nodes {
		seeds = append(seeds, n.kafka)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

func kafkaLeader(ctx context.Context, c *cluster) (int, error) {
	admin, err := c.kafkaAdmin()
	if err != nil {
		return 0, err
	}
	defer admin.Close()
	topics, err := admin.ListTopics(ctx, failoverName)
	if err != nil {
		return 0, err
	}
	leader := topics[failoverName].Partitions[0].Leader
	if leader < 1 || int(leader) > len(c.nodes) {
		return 0, fmt.Errorf("there is no leader of %s", failoverName)
	}
	return int(leader) - 1, nil
}

// kafkaHealthy: all brokers are there, and every replica is in sync.
func kafkaHealthy(ctx context.Context, c *cluster) error {
	admin, err := c.kafkaAdmin()
	if err != nil {
		return err
	}
	defer admin.Close()
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	meta, err := admin.Metadata(limited)
	if err != nil {
		return err
	}
	if len(meta.Brokers) < len(c.nodes) {
		return fmt.Errorf("%d brokers", len(meta.Brokers))
	}
	for _, t := range meta.Topics {
		for _, p := range t.Partitions {
			if len(p.ISR) < len(p.Replicas) {
				return fmt.Errorf("%s/%d: %d of %d replicas are in sync", t.Topic, p.Partition, len(p.ISR), len(p.Replicas))
			}
		}
	}
	return nil
}
