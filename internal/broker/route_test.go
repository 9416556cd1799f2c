package broker

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// topicMatches is the plain recursive meaning of a topic pattern.
func topicMatches(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return topicMatches(pattern[1:], key) || len(key) > 0 && topicMatches(pattern, key[1:])
	case len(key) == 0:
		return false
	default:
		return (pattern[0] == "*" || pattern[0] == key[0]) && topicMatches(pattern[1:], key[1:])
	}
}

// names lists the queues that a table routes to, sorted, each once.
func names(table bindingTable, key string, headers record.Table) []string {
	var found []string
	for _, t := range table.route(key, func() record.Table { return headers }, nil) {
		found = append(found, t.queue.spec.Name)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestTables: each type of exchange, with bindings that come and go, routes as its plain
// meaning says; and a table that was taken before a change does not change.
func TestTables(t *testing.T) {
	meaning := map[string]func(pattern, key string) bool{
		"direct": func(pattern, key string) bool { return pattern == key },
		"fanout": func(string, string) bool { return true },
		"topic":  func(pattern, key string) bool { return topicMatches(words(pattern), words(key)) },
	}
	word := rapid.SampledFrom([]string{"a", "b", "*", "#", ""})
	key := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(word, 0, 5).Draw(t, "words"), ".")
	})
	for kind, matches := range meaning {
		t.Run(kind, rapid.MakeCheck(func(t *rapid.T) {
			table := newTable(kind)
			model := map[string]*catalog.Binding{}
			for range rapid.IntRange(1, 30).Draw(t, "changes") {
				b := &catalog.Binding{Source: "x", Destination: rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "queue"), Key: key.Draw(t, "pattern")}
				old, probe := table, key.Draw(t, "probe")
				before := names(old, probe, nil)
				if _, ok := model[b.ID()]; ok {
					table = table.without(b)
					delete(model, b.ID())
				} else {
					table = table.with(bound{binding: b, target: target{queue: &Queue{spec: catalog.Queue{Name: b.Destination}}}})
					model[b.ID()] = b
				}
				if after := names(old, probe, nil); !slices.Equal(before, after) {
					t.Fatalf("an old table routed %q to %v, and after a change of a new one to %v", probe, before, after)
				}
				var want []string
				for _, b := range model {
					if matches(b.Key, probe) {
						want = append(want, b.Destination)
					}
				}
				slices.Sort(want)
				if got := names(table, probe, nil); !slices.Equal(got, slices.Compact(want)) {
					t.Fatalf("%q is routed to %v, want %v", probe, got, want)
				}
			}
		}))
	}
}

func TestHeadersMatch(t *testing.T) {
	have := record.Table{"a": int32(1), "b": "two", "x-c": true}
	for _, test := range []struct {
		want  record.Table
		match bool
	}{
		{record.Table{}, true},
		{record.Table{"x-match": "any"}, false},
		{record.Table{"a": int32(1), "b": "two"}, true},
		{record.Table{"a": int32(1), "b": "three"}, false},
		{record.Table{"a": int64(1)}, true}, // the width does not count
		{record.Table{"a": "1"}, false},     // the type does
		{record.Table{"a": nil}, true},      // presence alone
		{record.Table{"d": nil}, false},
		{record.Table{"x-match": "any", "a": int32(2), "b": "two"}, true},
		{record.Table{"x-match": "any", "a": int32(2), "b": "three"}, false},
		{record.Table{"x-match": "all", "x-c": false}, true}, // x- is not looked at
		{record.Table{"x-match": "all-with-x", "x-c": false}, false},
		{record.Table{"x-match": "any-with-x", "x-c": true}, true},
	} {
		if got := headersMatch(test.want, have); got != test.match {
			t.Errorf("binding %v, headers %v: %t", test.want, have, got)
		}
	}
}

// TestHostileTopicPattern: patterns of many # cost no more than their length
// times that of the key.
func TestHostileTopicPattern(t *testing.T) {
	pattern := strings.Repeat("#.", 100) + "end"
	table := newTable("topic").with(bound{
		binding: &catalog.Binding{Key: pattern},
		target:  target{queue: &Queue{}},
	})
	if got := table.route(strings.Repeat("w.", 120)+"x", nil, nil); len(got) != 0 {
		t.Errorf("%d targets", len(got))
	}
	if got := table.route(strings.Repeat("w.", 120)+"end", nil, nil); len(got) != 1 {
		t.Errorf("%d targets, want 1", len(got))
	}
}

// TestRouteAlternate: a message that matches nothing goes on to the alternate
// exchange; cycles end.
func TestRouteAlternate(t *testing.T) {
	v := &vhost{name: "/"}
	q := &Queue{vhost: v, spec: catalog.Queue{Name: "rest"}}
	v.queues.set("rest", q)
	args, err := catalog.EncodeArgs(record.Table{"alternate-exchange": "other"})
	if err != nil {
		t.Fatal(err)
	}
	first := newExchange(v, catalog.Exchange{Name: "first", Type: "direct", Args: args})
	other := newExchange(v, catalog.Exchange{Name: "other", Type: "fanout"})
	v.exchanges.set("first", first)
	v.exchanges.set("other", other)
	other.follow(&catalog.Binding{Source: "other", Destination: "rest"}, false, target{queue: q})
	other.follow(&catalog.Binding{Source: "other", Destination: "first", ToExchange: true}, false, target{exchange: first})
	r := new(router)
	if got := r.route(first, &Publication{RoutingKey: "nowhere"}); len(got) != 1 || got[0] != q {
		t.Errorf("routed to %v", got)
	}
	first.follow(&catalog.Binding{Source: "first", Destination: "rest", Key: "k"}, false, target{queue: q})
	if got := r.route(first, &Publication{RoutingKey: "k", ExtraKeys: []string{"k"}}); len(got) != 1 {
		t.Errorf("routed %d times to one queue", len(got))
	}
}
