package broker

import (
	"strings"

	"github.com/tidwall/btree"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// topicTable routes by patterns of words separated by dots, where * stands for
// one word and # for any number of them (AMQP 0-9-1, section 3.1.3.3). The
// patterns are a trie of words; a change copies the nodes along its path.
type topicTable struct{ root *topicNode }

type topicNode struct {
	here []bound                        // patterns that end here
	next *btree.Map[string, *topicNode] // by the next word of the pattern; nil when there is none
}

func (t topicTable) with(b bound) bindingTable {
	return topicTable{t.root.with(words(b.binding.Key), b)}
}

func (t topicTable) without(b *catalog.Binding) bindingTable {
	n := t.root.without(words(b.Key), b)
	if n == nil {
		n = new(topicNode)
	}
	return topicTable{n}
}

func (t topicTable) route(key string, _ func() record.Table, to []target) []target {
	m := topicMatch{words: words(key), to: to}
	m.walk(t.root, 0)
	return m.to
}

// words splits a key; the empty key has no words.
func words(key string) []string {
	if key == "" {
		return nil
	}
	return strings.Split(key, ".")
}

func (n *topicNode) child(word string) *topicNode {
	if n.next == nil {
		return nil
	}
	c, _ := n.next.Get(word)
	return c
}

func (n *topicNode) with(pattern []string, b bound) *topicNode {
	if len(pattern) == 0 {
		return &topicNode{here: plus(n.here, b), next: n.next}
	}
	c := n.child(pattern[0])
	if c == nil {
		c = new(topicNode)
	}
	next := new(btree.Map[string, *topicNode])
	if n.next != nil {
		next = n.next.Copy()
	}
	next.Set(pattern[0], c.with(pattern[1:], b))
	return &topicNode{here: n.here, next: next}
}

// without returns nil when nothing is left of the node.
func (n *topicNode) without(pattern []string, b *catalog.Binding) *topicNode {
	m := &topicNode{here: n.here, next: n.next}
	if len(pattern) == 0 {
		m.here = minus(n.here, b)
	} else if c := n.child(pattern[0]); c != nil {
		m.next = n.next.Copy()
		if c = c.without(pattern[1:], b); c != nil {
			m.next.Set(pattern[0], c)
		} else {
			m.next.Delete(pattern[0])
		}
	}
	if len(m.here) == 0 && (m.next == nil || m.next.Len() == 0) {
		return nil
	}
	return m
}

// topicMatch walks the trie along the words of one key.
type topicMatch struct {
	words []string
	to    []target
	seen  map[visit]struct{} // only used once a # was met
}

// visit is a place in the trie with a place in the key. Where several # follow each other, the same
// visit can be reached in exponentially many ways, so each is made once.
type visit struct {
	node *topicNode
	at   int
}

func (m *topicMatch) walk(n *topicNode, at int) {
	if n == nil {
		return
	}
	if m.seen != nil {
		v := visit{n, at}
		if _, ok := m.seen[v]; ok {
			return
		}
		m.seen[v] = struct{}{}
	}
	if at == len(m.words) {
		for i := range n.here {
			m.to = append(m.to, n.here[i].target)
		}
	} else {
		m.walk(n.child(m.words[at]), at+1)
		m.walk(n.child("*"), at+1)
	}
	if rest := n.child("#"); rest != nil {
		if m.seen == nil {
			m.seen = map[visit]struct{}{}
		}
		for skip := at; skip <= len(m.words); skip++ {
			m.walk(rest, skip)
		}
	}
}
