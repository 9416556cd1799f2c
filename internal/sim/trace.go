package sim

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// verbose has the trace tell of every message and of what raft does.
var verbose = os.Getenv("SIM_DEBUG") != ""

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
