//go:build clients

package clients

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	clustertest "waybill/test/cluster"
)

// awayFor is how many of an application's lines pass until a node that was killed is started
// again: the application has to go on without it.
const awayFor = 1500

// TestApplicationsOnThreeNodes lets every application publish and then consume its messages while the
// node that leads its queue, or its topic's first partition, is killed and comes back, each time.
func TestApplicationsOnThreeNodes(t *testing.T) {
	cluster := clustertest.Start(t, clustertest.Options{Env: []string{quickGroups}})
	for _, app := range append(applications[:len(applications):len(applications)], goApplications...) {
		t.Run(app.name, func(t *testing.T) {
			t.Logf("run again with -seed %d", *seed)
			random := rand.New(rand.NewPCG(*seed, 0))
			name := "orders-" + app.name
			seen := newLedger(app, name)

			app.run(t, seen, phase{
				arguments: []string{"publish", app.clusterAddress(cluster), name, fmt.Sprint(messages)},
				events:    leaderAway(cluster, random, app, name),
				end:       healthy(cluster),
			})
			if n := len(seen.unacked); n > 0 {
				t.Fatalf("%d of %d values were not acknowledged", n, messages)
			}
			app.run(t, seen, phase{
				arguments: []string{"consume", app.clusterAddress(cluster), name},
				events:    leaderAway(cluster, random, app, name),
				end:       healthy(cluster),
				endless:   true,
			})
			if app.kafka {
				checkTopic(t, cluster.Kafka(), seen)
			} else {
				checkQueue(t, amqpURL(cluster.Nodes[random.IntN(3)].Broker), seen)
			}
		})
	}
}

func (app application) clusterAddress(c *clustertest.Cluster) string {
	if app.kafka {
		return strings.Join(c.Kafka(), ",")
	}
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, amqpURL(n.Broker))
	}
	return strings.Join(urls, ",")
}

// leaderAway is the death of the leader and its return.
func leaderAway(c *clustertest.Cluster, random *rand.Rand, app application, name string) []event {
	killed := messages/10 + random.IntN(messages*6/10)
	return []event{
		{killed, func(t *testing.T) { leaderOf(t, c, app.kafka, name).Kill() }},
		{killed + awayFor, func(t *testing.T) {
			if err := c.Launch(); err != nil {
				t.Error(err)
			}
		}},
	}
}

func leaderOf(t *testing.T, c *clustertest.Cluster, kafka bool, name string) *clustertest.Node {
	t.Helper()
	words := []string{"queue", "'" + name + "'"}
	if kafka {
		words = []string{"partition 0 ", "'" + name + "'"}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		leader, err := c.LeaderOf(ctx, words...)
		if err == nil {
			return leader
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func healthy(c *clustertest.Cluster) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.AwaitHealth(ctx, nil); err != nil {
			t.Error(err)
		}
	}
}

// TestKcatOnThreeNodes: kcat tells of no single acknowledgement, but its exit code says that all
// were acknowledged. The leader is killed between the halves of its input, and what kcat reads is complete
// with that node dead and with all three.
func TestKcatOnThreeNodes(t *testing.T) {
	const topic = "kcat-orders"
	cluster := clustertest.Start(t, clustertest.Options{})
	seeds := strings.Join(cluster.Kafka(), ",")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kcat", "-P", "-b", seeds, "-t", topic,
		"-X", "acks=all", "-X", "enable.idempotence=true", "-X", "linger.ms=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	send := func(from, to int) {
		for n := from; n < to; n++ {
			line := fmt.Sprintf("order-%d%s\n", n, strings.Repeat(".", 1000))
			want.WriteString(line)
			if _, err := stdin.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(0, messages/2)
	awaitRecords(ctx, t, cluster, topic, messages/4)
	leaderOf(t, cluster, true, topic).Kill()
	send(messages/2, messages)
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("kcat -P: %v\n%s", err, lastBytes(stderr.String(), 2048))
	}
	for _, when := range []string{"with a node dead", "with all nodes"} {
		if got := kcat(t, "", "-C", "-b", seeds, "-t", topic, "-o", "beginning", "-e", "-q"); got != want.String() {
			t.Errorf("%s: consumed %d bytes, produced %d; they differ", when, len(got), want.Len())
		}
		if err := cluster.Launch(); err != nil {
			t.Fatal(err)
		}
		healthy(cluster)(t)
	}
}

// awaitRecords waits until so many records are in the topic's only partition.
func awaitRecords(ctx context.Context, t *testing.T, c *clustertest.Cluster, topic string, n int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Kafka()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for {
		ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
		if end, ok := ends.Lookup(topic, 0); err == nil && ok && end.Err == nil && end.Offset >= n {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d records do not come: %v", n, err)
		}
	}
}
