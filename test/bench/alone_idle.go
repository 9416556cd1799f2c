package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	idleQueues = 10_000
	idleConns  = 5_000
	declarers  = 16 // connections that declare, or connect, side by side
	heartbeat  = time.Minute
	idleTime   = 40 * time.Second // in which the CPU is counted
)

// eachOf calls f for 0 … n-1, from as many goroutines as there are declarers.
func eachOf(n int, f func(worker, i int) error) error {
	var wait sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	for worker := range declarers {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && failed.Load() == nil; i = next.Add(1) - 1 {
				if err := f(worker, int(i)); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (n *node) dial() (*amqp.Connection, error) { return dialAMQP(n.amqp) }

func dialAMQP(addr string) (*amqp.Connection, error) {
	return amqp.DialConfig("amqp://guest:guest@"+addr+"/", amqp.Config{Heartbeat: heartbeat})
}

// queuesIdle declares queues, each bound to one exchange, and lets them be.
func queuesIdle(ctx context.Context, _ *runner, n *node) (map[string]float64, error) {
	created, err := declareIdle([]string{n.amqp})
	if err != nil {
		return nil, err
	}
	figures, err := n.idle(ctx)
	if err == nil {
		figures[createRate] = created
	}
	return figures, err
}

// declareIdle declares the queues over connections to all of the addresses, in turn, and
// returns how many a second.
func declareIdle(addrs []string) (perSecond float64, err error) {
	channels := make([]*amqp.Channel, declarers)
	for i := range channels {
		c, err := dialAMQP(addrs[i%len(addrs)])
		if err != nil {
			return 0, err
		}
		defer c.Close() //nolint:errcheck // nothing more is asked of it
		if channels[i], err = c.Channel(); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	err = eachOf(idleQueues, func(worker, i int) error {
		name := fmt.Sprintf("idle-%d", i)
		if _, err := channels[worker].QueueDeclare(name, true, false, false, false, nil); err != nil {
			return err
		}
		return channels[worker].QueueBind(name, name, "amq.direct", false, nil)
	})
	return idleQueues / time.Since(began).Seconds(), err
}

// idle measures a node that has nothing to do.
func (n *node) idle(ctx context.Context) (map[string]float64, error) {
	if err := n.quiet(ctx); err != nil {
		return nil, err
	}
	memory, err := n.memory()
	if err != nil {
		return nil, err
	}
	cores, err := n.cores(ctx, idleTime)
	return map[string]float64{memoryInAll: memory / (1 << 20), idleCores: 100 * cores}, err
}

// connectionsIdle opens connections with a channel each, and lets them be.
func connectionsIdle(ctx context.Context, _ *runner, n *node) (map[string]float64, error) {
	if err := n.quiet(ctx); err != nil {
		return nil, err
	}
	before, err := n.memory()
	if err != nil {
		return nil, err
	}
	conns := make([]*amqp.Connection, idleConns)
	err = eachOf(idleConns, func(_, i int) (err error) {
		if conns[i], err = n.dial(); err != nil {
			return err
		}
		_, err = conns[i].Channel()
		return err
	})
	defer func() {
		for _, c := range conns {
			if c != nil {
				go c.Close() //nolint:errcheck // the node goes
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	figures, err := n.idle(ctx)
	if err == nil {
		figures[memoryEach] = (figures[memoryInAll]*(1<<20) - before) / 1024 / idleConns
	}
	return figures, err
}
