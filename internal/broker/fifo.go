package broker

// fifo is a queue in one slice that is used again and again.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

// at returns the i-th item from the front. It is valid until the next push.
func (f *fifo[T]) at(i int) *T { return &f.items[f.head+i] }

func (f *fifo[T]) push(v T) {
	if len(f.items) == cap(f.items) && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, v)
}

// pop removes the first item.
func (f *fifo[T]) pop() T {
	var zero T
	v := f.items[f.head]
	f.items[f.head] = zero
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return v
}

// popLast removes the last item.
func (f *fifo[T]) popLast() T {
	var zero T
	last := len(f.items) - 1
	v := f.items[last]
	f.items[last] = zero
	f.items = f.items[:last]
	return v
}

// drain removes all items and returns them.
func (f *fifo[T]) drain() []T {
	items := f.items[f.head:]
	*f = fifo[T]{}
	return items
}

// reset removes all items and keeps the array for the next ones.
func (f *fifo[T]) reset() {
	clear(f.items)
	f.items, f.head = f.items[:0], 0
}
