package broker

import (
	"reflect"
	"slices"
	"strings"

	"github.com/tidwall/btree"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// target is an end of a binding: a queue or an exchange.
type target struct {
	queue    *Queue
	exchange *exchange
}

// bound is a binding as a routing table holds it.
type bound struct {
	binding *catalog.Binding
	args    record.Table
	target  target
}

// bindingTable is the immutable routing table of one exchange: with and
// without return changed copies.
type bindingTable interface {
	with(b bound) bindingTable
	without(b *catalog.Binding) bindingTable
	// route appends the targets for a key; some may appear more than once.
	route(key string, headers func() record.Table, to []target) []target
}

// newTable returns the empty table for a type of exchange; nil when there is no
// such type.
func newTable(exchangeType string) bindingTable {
	switch exchangeType {
	case "direct":
		return directTable{new(btree.Map[string, []bound])}
	case "fanout":
		return fanoutTable{}
	case "topic":
		return topicTable{new(topicNode)}
	case "headers":
		return headersTable{}
	default:
		return nil
	}
}

// plus and minus change a list of bindings by copying it.
func plus(list []bound, b bound) []bound {
	return append(slices.Clip(list), b)
}

func minus(list []bound, b *catalog.Binding) []bound {
	id := b.ID()
	return slices.DeleteFunc(slices.Clone(list), func(x bound) bool { return x.binding.ID() == id })
}

// fanoutTable routes to all (AMQP 0-9-1, section 3.1.3.2).
type fanoutTable struct{ all []bound }

func (t fanoutTable) with(b bound) bindingTable               { return fanoutTable{plus(t.all, b)} }
func (t fanoutTable) without(b *catalog.Binding) bindingTable { return fanoutTable{minus(t.all, b)} }

func (t fanoutTable) route(_ string, _ func() record.Table, to []target) []target {
	for i := range t.all {
		to = append(to, t.all[i].target)
	}
	return to
}

// directTable routes to the bindings with the very same key (section 3.1.3.1).
type directTable struct{ byKey *btree.Map[string, []bound] }

func (t directTable) with(b bound) bindingTable {
	n := t.byKey.Copy()
	list, _ := n.Get(b.binding.Key)
	n.Set(b.binding.Key, plus(list, b))
	return directTable{n}
}

func (t directTable) without(b *catalog.Binding) bindingTable {
	n := t.byKey.Copy()
	list, _ := n.Get(b.Key)
	if list = minus(list, b); len(list) > 0 {
		n.Set(b.Key, list)
	} else {
		n.Delete(b.Key)
	}
	return directTable{n}
}

func (t directTable) route(key string, _ func() record.Table, to []target) []target {
	list, _ := t.byKey.Get(key)
	for i := range list {
		to = append(to, list[i].target)
	}
	return to
}

// headersTable routes by the message's headers (section 3.1.3.4, and RabbitMQ's
// all-with-x and any-with-x, which also look at headers that begin with x-).
type headersTable struct{ all []bound }

func (t headersTable) with(b bound) bindingTable { return headersTable{plus(t.all, b)} }
func (t headersTable) without(b *catalog.Binding) bindingTable {
	return headersTable{minus(t.all, b)}
}

func (t headersTable) route(_ string, headers func() record.Table, to []target) []target {
	if len(t.all) == 0 {
		return to
	}
	var have record.Table
	if headers != nil {
		have = headers()
	}
	for i := range t.all {
		if headersMatch(t.all[i].args, have) {
			to = append(to, t.all[i].target)
		}
	}
	return to
}

// matchKinds are the values of x-match.
var matchKinds = []string{"all", "any", "all-with-x", "any-with-x"}

// checkMatch checks the arguments of a binding.
func checkMatch(args record.Table) error {
	kind, ok := args["x-match"]
	if !ok {
		return nil
	}
	if name, isText := kind.(string); !isText || !slices.Contains(matchKinds, name) {
		return errorf(Invalid, "invalid x-match field value %v: use all, any, all-with-x or any-with-x", kind)
	}
	return nil
}

// headersMatch: a void value in the binding asks only that the header is there,
// and integers of any width are equal when their values are.
func headersMatch(want, have record.Table) bool {
	kind, _ := want["x-match"].(string)
	withX := strings.HasSuffix(kind, "-with-x")
	anyOne := strings.HasPrefix(kind, "any")
	for name, value := range want {
		if name == "x-match" || !withX && strings.HasPrefix(name, "x-") {
			continue
		}
		got, ok := have[name]
		match := ok && (value == nil || reflect.DeepEqual(catalog.Normalize(got), catalog.Normalize(value)))
		if match == anyOne {
			return anyOne // any: the first match decides; all: the first mismatch
		}
	}
	return !anyOne
}
