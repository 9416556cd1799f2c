package broker

import (
	"sync/atomic"

	"github.com/tidwall/btree"
)

// cowMap is a map from names that is read from everywhere without a lock, and
// changed by one goroutine at a time: a change makes a new version, which
// shares what did not change with the old one.
type cowMap[V any] struct {
	now atomic.Pointer[btree.Map[string, V]]
}

func (m *cowMap[V]) get(name string) (V, bool) {
	if t := m.now.Load(); t != nil {
		return t.Get(name)
	}
	var none V
	return none, false
}

func (m *cowMap[V]) set(name string, v V) {
	t := m.copy()
	t.Set(name, v)
	m.now.Store(t)
}

func (m *cowMap[V]) delete(name string) {
	t := m.copy()
	t.Delete(name)
	m.now.Store(t)
}

func (m *cowMap[V]) copy() *btree.Map[string, V] {
	if t := m.now.Load(); t != nil {
		return t.Copy()
	}
	return new(btree.Map[string, V])
}

// values lists the values in the order of their names.
func (m *cowMap[V]) values() []V {
	if t := m.now.Load(); t != nil {
		return t.Values()
	}
	return nil
}
