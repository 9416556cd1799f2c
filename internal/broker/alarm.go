package broker

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// alarm is the state in which nothing may be published, because the node is
// short of something. Consuming, settling, committing and deleting go on: they
// are what ends it.
type alarm struct {
	on atomic.Bool // reason is not empty; read without the lock on the hot path

	mu        sync.Mutex // guards the rest; listeners are called under it, so that they hear the changes in order
	reason    string
	closed    bool
	cleared   *sync.Cond
	listeners map[int]func(reason string)
	lastID    int
}

func (a *alarm) init() {
	a.cleared = sync.NewCond(&a.mu)
	a.listeners = map[int]func(string){}
}

func (a *alarm) set(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if reason == a.reason {
		return
	}
	a.reason = reason
	a.on.Store(reason != "")
	for _, id := range slices.Sorted(maps.Keys(a.listeners)) {
		a.listeners[id](reason)
	}
	a.cleared.Broadcast()
}

// wait returns when the alarm is off.
func (a *alarm) wait() {
	if !a.on.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.reason != "" && !a.closed {
		a.cleared.Wait()
	}
}

// close lets everyone through from now on.
func (a *alarm) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.cleared.Broadcast()
}

// SetAlarm blocks all publishing for the reason given, in words for clients;
// "" ends it. AMQP publishers wait, Kafka producers get a retriable error.
func (b *Broker) SetAlarm(reason string) {
	b.alarm.set(reason)
}

// Alarm returns the reason why publishing is blocked, "" when it is not.
func (b *Broker) Alarm() string {
	b.alarm.mu.Lock()
	defer b.alarm.mu.Unlock()
	return b.alarm.reason
}

// alarmed reports whether publishing is blocked.
func (b *Broker) alarmed() bool { return b.alarm.on.Load() }

// OnAlarm calls f with the reason whenever an alarm begins or changes, and
// with "" when it ends; right away when one is on. f must not block, nor call
// back. stop ends that.
func (b *Broker) OnAlarm(f func(reason string)) (stop func()) {
	a := &b.alarm
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastID++
	id := a.lastID
	a.listeners[id] = f
	if a.reason != "" {
		f(a.reason)
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.listeners, id)
	}
}
