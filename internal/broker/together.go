package broker

// togetherLimit bounds the messages of a queue that share one entry: a larger
// one would hold up everything else on its way to the disk and to the followers.
const togetherLimit = 16 << 20

// Together gathers publications that become durable together: a queue that
// gets several of them has all of them or none, whatever fails and also when it
// is full, up to 16 MiB of them. Several queues are independent of each other. It belongs to one goroutine.
type Together struct {
	s      *Session
	size   int64
	queues []*Queue // in the order of their first message
	lists  map[*Queue]*togetherList
}

// togetherList is what one queue gets.
type togetherList struct {
	commands []command
	size     int // of those that share an entry so far
}

// Together begins.
func (s *Session) Together() *Together {
	return &Together{s: s, lists: map[*Queue]*togetherList{}}
}

// Publish is Session.Publish, but nothing is on its way before Post.
func (t *Together) Publish(p *Publication, to Publisher, tag uint64) (queues int, err error) {
	return t.s.publish(p, to, tag, t.add)
}

func (t *Together) add(q *Queue, c command) {
	l := t.lists[q]
	if l == nil {
		l = new(togetherList)
		t.lists[q] = l
		t.queues = append(t.queues, q)
	}
	n := len(c.stored)
	if k := len(l.commands); k > 0 && l.size+n <= togetherLimit {
		l.commands[k-1].more = true
	} else {
		l.size = 0
	}
	l.size += n
	l.commands = append(l.commands, c)
	t.size += int64(n)
}

// Post hands everything to the queues. It blocks as Session.Publish does.
func (t *Together) Post() {
	t.s.b.alarm.wait()
	if t.size > 0 {
		t.s.b.budget.acquire(t.size) // in one go: two that wait for each other's part would wait for ever
	}
	for _, q := range t.queues {
		q.post(t.lists[q].commands...)
	}
}
