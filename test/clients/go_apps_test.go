//go:build clients

package clients

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The applications of the Go clients are in this test's own binary: called as "test as NAME …", it is one.
var goApplications = []application{
	{"amqp091-go", false, []string{os.Args[0], "as", "amqp091-go"}},
	{"franz-go", true, []string{os.Args[0], "as", "franz-go"}},
}

// applicationMain is one of the applications, if the binary was called as one.
func applicationMain() (called bool) {
	if len(os.Args) < 6 || os.Args[1] != "as" {
		return false
	}
	name, action, address, place := os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	publish, consume := publishAMQP, consumeAMQP
	if name == "franz-go" {
		publish, consume = publishKafka, consumeKafka
	}
	var err error
	if action == "publish" {
		count, _ := strconv.Atoi(os.Args[6])
		err = publish(ctx, strings.Split(address, ","), place, count)
	} else {
		err = consume(ctx, strings.Split(address, ","), place)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func paddedOrder(n int) []byte {
	value := fmt.Sprintf("order-%d", n)
	return []byte(value + strings.Repeat(".", 1024-len(value)))
}

func unpadded(body []byte) string { return strings.TrimRight(string(body), ".") }

// overAMQP connects to one node after the other until work is done.
func overAMQP(ctx context.Context, urls []string, queue string, work func(*amqp.Channel) (done bool, err error)) {
	for turn := 0; ctx.Err() == nil; turn++ {
		done := false
		conn, err := amqp.Dial(urls[turn%len(urls)])
		if err == nil {
			var ch *amqp.Channel
			if ch, err = conn.Channel(); err == nil {
				if _, err = ch.QueueDeclare(queue, true, false, false, false, nil); err == nil {
					done, err = work(ch)
				}
			}
			_ = conn.Close() // after it the broker has seen every ack
		}
		if done {
			return
		}
		fmt.Fprintln(os.Stderr, "connecting again:", err)
		time.Sleep(200 * time.Millisecond) // as an application does
	}
}

// publishAMQP publishes window by window. What is not confirmed is published again, which may make a
// duplicate and loses nothing.
func publishAMQP(ctx context.Context, urls []string, queue string, count int) error {
	const window = 200
	open := make([]int, count)
	for n := range open {
		open[n] = n
	}
	overAMQP(ctx, urls, queue, func(ch *amqp.Channel) (bool, error) {
		if err := ch.Confirm(false); err != nil {
			return false, err
		}
		for len(open) > 0 {
			now := open[:min(window, len(open))]
			left, err := publishWindow(ctx, ch, queue, now)
			open = append(left, open[len(now):]...)
			if err != nil {
				return false, err
			}
		}
		return true, nil
	})
	return ctx.Err()
}

func publishWindow(ctx context.Context, ch *amqp.Channel, queue string, orders []int) (left []int, err error) {
	var confirms []*amqp.DeferredConfirmation
	for i, n := range orders {
		c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: paddedOrder(n)})
		if err != nil {
			left = append(left, orders[i:]...)
			break
		}
		confirms = append(confirms, c)
	}
	for i, c := range confirms {
		if c.Wait() { // false when it was nacked, or the channel is gone
			fmt.Printf("acked order-%d\n", orders[i])
		} else {
			left = append(left, orders[i])
		}
	}
	if ch.IsClosed() {
		err = amqp.ErrClosed
	}
	return left, err
}

func consumeAMQP(ctx context.Context, urls []string, queue string) error {
	overAMQP(ctx, urls, queue, func(ch *amqp.Channel) (bool, error) {
		if err := ch.Qos(100, 0, false); err != nil {
			return false, err
		}
		deliveries, err := ch.ConsumeWithContext(ctx, queue, "", false, false, false, false, nil)
		if err != nil {
			return false, err
		}
		for d := range deliveries {
			fmt.Println("received", unpadded(d.Body))
			if err := d.Ack(false); err != nil {
				return false, err
			}
		}
		return ctx.Err() != nil, amqp.ErrClosed
	})
	return nil
}

// publishKafka produces with franz-go's defaults: acks=all, idempotent.
func publishKafka(ctx context.Context, seeds []string, topic string, count int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(500))
	if err != nil {
		return err
	}
	defer client.Close()
	created, err := kadm.NewClient(client).CreateTopic(ctx, 4, -1, nil, topic)
	if err == nil {
		err = created.Err
	}
	if err != nil && err != kerr.TopicAlreadyExists {
		return err
	}
	var mu sync.Mutex
	var failed error
	for n := range count {
		client.Produce(ctx, &kgo.Record{Value: paddedOrder(n)}, func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			fmt.Println("acked", unpadded(r.Value), r.Partition, r.Offset)
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return failed
}

func consumeKafka(ctx context.Context, seeds []string, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumerGroup(topic+"-readers"), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.SessionTimeout(6*time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		records := client.PollRecords(ctx, 200).Records()
		for _, r := range records {
			fmt.Println("received", unpadded(r.Value), r.Partition, r.Offset)
		}
		// What was processed is committed also when it is time to end. A commit that fails is
		// made good by the next one.
		if err := client.CommitRecords(context.WithoutCancel(ctx), records...); err != nil {
			fmt.Fprintln(os.Stderr, "committing:", err)
		}
	}
	return nil
}
