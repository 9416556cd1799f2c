package kafka

import (
	"errors"
	"fmt"
	"testing"

	"waybill/internal/broker"
)

// A change of the catalog that found no majority in time has timed out. "Not the leader", which it once
// was, is about a partition, and admin clients do not try again on it.
func TestChangeCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int16
	}{
		{nil, codeNone},
		{&broker.Error{Kind: broker.Unavailable}, codeRequestTimedOut},
		{fmt.Errorf("create: %w", &broker.Error{Kind: broker.Unavailable}), codeRequestTimedOut},
		{&broker.Error{Kind: broker.Unavailable, Code: codeNotEnoughReplicas}, codeNotEnoughReplicas},
		{&broker.Error{Kind: broker.Exists}, codeTopicAlreadyExists},
		{errors.New("anything"), codeUnknownServerError},
	} {
		if got := changeCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}
