package stock

import (
	"errors"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestNameOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("connection reset by peer"), ""},
		{&amqp.Error{Code: 506, Reason: "RESOURCE_ERROR - queue 'orders' has no leader", Server: true}, "506 RESOURCE_ERROR"},
		{&amqp.Error{Code: 541, Reason: "", Server: true}, "541"},
		{&amqp.Error{Code: 501, Reason: "EOF"}, ""}, // what the library makes up
		{fmt.Errorf("commit: %w", kerr.NotEnoughReplicas), "NOT_ENOUGH_REPLICAS"},
	} {
		if got := NameOf(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// The client tells its log alone that it sends again.
func TestEar(t *testing.T) {
	var r Refusals
	began := time.Now()
	ear{&r}.Log(kgo.LogLevelDebug, "produced", "broker", 1, "to",
		"orders[0{retrying@-1,5(NOT_ENOUGH_REPLICAS: Messages are rejected since there are fewer in-sync replicas than required.)}, 1{12=>15}]")
	ear{&r}.Log(kgo.LogLevelDebug, "produced", "broker", 1, "to", "orders[0{move:2:7@-1,5}]")
	ear{&r}.Log(kgo.LogLevelDebug, "metadata", "err", "(NOT_COORDINATOR)")
	ear{&r}.Log(kgo.LogLevelDebug, "immediate metadata update had inner errors, re-updating", "errors", "LEADER_NOT_AVAILABLE{orders[0 1]}", "update_after", time.Second)
	got := r.Between(began, time.Now())
	if len(got) != 3 || got["LEADER_NOT_AVAILABLE"] != 1 || got["NOT_ENOUGH_REPLICAS"] != 1 || got["NOT_LEADER_FOR_PARTITION"] != 1 {
		t.Errorf("heard: %v", map[string]int(got))
	}
	if later := r.Between(time.Now().Add(time.Second), time.Now().Add(time.Minute)); len(later) != 0 {
		t.Errorf("heard too early: %v", later)
	}
}
