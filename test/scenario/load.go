package scenario

import "context"

// load is a publisher that works while the scenario goes on.
type load struct {
	cancel      context.CancelFunc
	done        chan struct{}
	ackedBefore int
}

func (l *load) end() {
	l.cancel()
	<-l.done
}

// load begins to publish to a target.
func (w *world) load(name string, t target) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel, make(chan struct{}), t.report().Acked}
	if w.loads == nil {
		w.loads = map[string]*load{}
	}
	w.loads[name] = l
	w.unread = true
	run := t.load(w.producer())
	w.t.Cleanup(l.end)
	go func() {
		defer close(l.done)
		run(ctx)
	}()
}
