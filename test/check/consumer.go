package check

// Consumer is one Kafka consumer, with the order in which it polls.
type Consumer struct {
	k    *Kafka
	next map[*Partition]int64 // the offset after the last one polled, since the assignment
	skip []skip
}

// skip is a stretch of offsets [from, to) that a consumer passed over.
type skip struct {
	p        *Partition
	from, to int64
	kind     Kind
}

// Polled is a record that a poll returned.
type Polled struct {
	Partition *Partition
	Offset    int64
	Value     Value
}

// Consumer adds a consumer.
func (k *Kafka) Consumer() *Consumer {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := &Consumer{k: k, next: make(map[*Partition]int64)}
	k.consumers = append(k.consumers, c)
	return c
}

// Moved tells that the consumer may go on at any offset of p: it sought, or
// p was assigned to it anew.
func (c *Consumer) Moved(p *Partition) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	delete(c.next, p)
}

// Polled tells what one poll returned, in its order.
func (c *Consumer) Polled(records []Polled) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	inPoll := make(map[*Partition]bool)
	for _, rec := range records {
		p := rec.Partition
		p.seen(rec.Value, rec.Offset)
		next, known := c.next[p]
		kind := PollSkip
		if inPoll[p] {
			kind = InternalPollSkip
		}
		inPoll[p] = true
		switch {
		case known && rec.Offset < next:
			c.k.found.add(NonmonotonicPoll, "offset %d of %v was polled after %d", rec.Offset, p, next-1)
		case known && rec.Offset > next:
			c.skip = append(c.skip, skip{p, next, rec.Offset, kind})
		}
		c.next[p] = rec.Offset + 1
	}
}

// report tells of the skips over offsets that hold a record.
func (c *Consumer) report(r *Report) {
	for _, s := range c.skip {
		n := 0
		for off := s.from; off < s.to; off++ {
			if at := s.p.offsets.get(uint64(off)); at.acked || at.seen {
				n++
			}
		}
		if n > 0 {
			r.add(s.kind, "a consumer went from offset %d of %v to %d, over %d records", s.from-1, s.p, s.to, n)
		}
	}
}
