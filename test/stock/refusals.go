package stock

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Names of refusals that are no error codes.
const (
	Nack    = "basic.nack"
	Blocked = "connection.blocked"
)

// Refusals gathers what clients were refused with, and when. The zero value is
// ready; it may be used from any goroutine.
type Refusals struct {
	mu   sync.Mutex
	list []refusal
}

type refusal struct {
	at   time.Time
	name string
}

// Add notes a refusal.
func (r *Refusals) Add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, refusal{time.Now(), name})
}

// Error notes the broker's refusal in an error, if there is one in it.
func (r *Refusals) Error(err error) {
	if name := NameOf(err); name != "" {
		r.Add(name)
	}
}

// Between counts what was refused from one time to another, by name.
func (r *Refusals) Between(from, to time.Time) Count {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := Count{}
	for _, one := range r.list {
		if !one.at.Before(from) && !one.at.After(to) {
			found[one.name]++
		}
	}
	return found
}

// Count is how often there was a refusal of each name.
type Count map[string]int

// String lists the names, in alphabetical order.
func (c Count) String() string { return strings.Join(slices.Sorted(maps.Keys(c)), ", ") }

var replyName = regexp.MustCompile(`^[A-Z][A-Z_]+\b`)

// NameOf is the name of the broker's refusal in an error of a client; "" when there is none: the
// connection broke, or the client gave up.
func NameOf(err error) string {
	var closed *amqp.Error
	var code *kerr.Error
	switch {
	case errors.As(err, &closed) && closed.Server:
		return strings.TrimSpace(fmt.Sprint(closed.Code, " ", replyName.FindString(closed.Reason)))
	case errors.As(err, &code):
		return code.Message
	}
	return ""
}

// Ear is a logger for a franz-go client that notes the errors in the answers to its Produce
// requests, and to those that ask who leads what it produces to: the client tries again by itself, and
// tells nobody but its log.
func (r *Refusals) Ear() kgo.Opt { return kgo.WithLogger(ear{r}) }

type ear struct{ r *Refusals }

// Level implements kgo.Logger.
func (ear) Level() kgo.LogLevel { return kgo.LogLevelDebug }

// heard says in which of the client's lines, and under which key, there are errors: as in
// "orders[0{retrying@-1,5(NOT_ENOUGH_REPLICAS: Messages are rejected …)}]" and in
// "LEADER_NOT_AVAILABLE{orders[0 1]}".
var heard = []struct {
	line, key string
	name      *regexp.Regexp
}{
	{"produced", "to", regexp.MustCompile(`\(([A-Z][A-Z_]+)\b`)},
	{"metadata update triggered", "why", regexp.MustCompile(`\b([A-Z][A-Z_]+)\{`)},
	{"immediate metadata update had inner errors, re-updating", "errors", regexp.MustCompile(`\b([A-Z][A-Z_]+)\{`)},
}

// Log implements kgo.Logger.
func (e ear) Log(_ kgo.LogLevel, msg string, keyvals ...any) {
	for _, h := range heard {
		if msg != h.line {
			continue
		}
		for i := 0; i+1 < len(keyvals); i += 2 {
			text, ok := keyvals[i+1].(string)
			if !ok || keyvals[i] != h.key {
				continue
			}
			for _, found := range h.name.FindAllStringSubmatch(text, -1) {
				e.r.Add(found[1])
			}
			if strings.Contains(text, "{move:") { // the answer also says who leads now
				e.r.Add(kerr.NotLeaderForPartition.Message)
			}
		}
	}
}
