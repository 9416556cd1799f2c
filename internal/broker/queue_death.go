package broker

import (
	"slices"
	"time"

	"waybill/internal/queue"
	"waybill/internal/record"
)

// death is one event of dead-lettering, as RabbitMQ's x-death header tells it.
type death struct {
	queue, reason, exchange string
	keys                    []string // the routing key, and those of CC
	time                    time.Time
	expiration              string // the property that the message loses; "" when it had none
}

// deaths is the x-death header: tables, the newest first, one for each pair of
// queue and reason.
type deaths []any

// recordDeath adds a death to the headers and returns all deaths.
func recordDeath(headers record.Table, d death) deaths {
	old, _ := headers["x-death"].([]any)
	entry := record.Table{
		"queue":        d.queue,
		"reason":       d.reason,
		"exchange":     d.exchange,
		"routing-keys": anyList(d.keys),
		"time":         record.Timestamp(d.time.Unix()),
		"count":        int64(1),
	}
	if d.expiration != "" {
		entry["original-expiration"] = d.expiration
	}
	all := deaths{entry}
	for _, e := range old {
		t, ok := e.(record.Table)
		if !ok {
			continue // a client made it up
		}
		if t["queue"] == d.queue && t["reason"] == d.reason {
			count, _ := queue.Integer(t["count"])
			again := record.Table{}
			for name, value := range t {
				again[name] = value
			}
			again["count"] = count + 1
			all[0] = again
			continue
		}
		all = append(all, t)
	}
	headers["x-death"] = []any(all)
	for name, value := range map[string]string{"queue": d.queue, "reason": d.reason, "exchange": d.exchange} {
		if _, ok := headers["x-first-death-"+name]; !ok {
			headers["x-first-death-"+name] = value
		}
		headers["x-last-death-"+name] = value
	}
	return all
}

// circle reports whether a message with these deaths was in the queue before,
// and came back to it without anybody rejecting it: it would go round for ever.
func (d deaths) circle(name string) bool {
	for _, e := range d {
		t, _ := e.(record.Table)
		if t["reason"] == queue.Discarded.String() {
			return false
		}
		if t["queue"] == name {
			return true
		}
	}
	return false
}

func anyList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// textList returns the strings in an array of a table.
func textList(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, s := range list {
		if s, ok := s.(string); ok {
			out = append(out, s)
		}
	}
	return slices.Clip(out)
}
