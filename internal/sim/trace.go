package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// verbose has the trace tell of every message and of what raft does.
var verbose = os.Getenv("SIM_DEBUG") != ""

// journal is what happened: the trace, its hash, and the violations. It is safe for
// concurrent use, as brokers have goroutines.
type journal struct {
	mu    sync.Mutex // guards the rest
	hash  hash.Hash
	out   io.Writer // nil: nobody reads it
	found []string
}

func (j *journal) init(out io.Writer) { j.hash, j.out = sha256.New(), out }

// note has b count for the hash.
func (j *journal) note(b []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = j.hash.Write(b)
}

func (j *journal) sum() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return fmt.Sprintf("%x", j.hash.Sum(nil)[:8])
}

func (j *journal) line(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = io.WriteString(j.hash, line)
	if j.out != nil {
		_, _ = io.WriteString(j.out, line)
	}
}

// trace tells what happens.
func (w *World) trace(format string, args ...any) {
	w.journal.line(fmt.Sprintf("%10.6f ", w.time().Sub(w.began).Seconds()) + fmt.Sprintf(format, args...) + "\n")
}

// fail notes a violation.
func (w *World) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.trace("VIOLATION %s", text)
	if w.cfg.Broker { // whose goroutines a panic may leave behind so that the bubble does not end
		fmt.Fprintf(os.Stderr, "seed %d: VIOLATION %s\n", w.cfg.Seed, text)
	}
	w.journal.mu.Lock()
	defer w.journal.mu.Unlock()
	w.journal.found = append(w.journal.found, text)
}

// failed reports whether there is a violation.
func (w *World) failed() bool {
	w.journal.mu.Lock()
	defer w.journal.mu.Unlock()
	return len(w.journal.found) > 0
}

// traceHandler puts what a node logs into the trace, with the virtual time.
type traceHandler struct {
	n     *node
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (h *traceHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || verbose
}

// Handle implements slog.Handler.
func (h *traceHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	h.n.w.trace("  n%d %s: %s%s", h.n.id, strings.ToLower(r.Level.String()), r.Message, b.String())
	return nil
}

// WithAttrs implements slog.Handler.
func (h *traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &traceHandler{h.n, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup implements slog.Handler.
func (h *traceHandler) WithGroup(string) slog.Handler { return h }
