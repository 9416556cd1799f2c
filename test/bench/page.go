package main

import (
	"fmt"
	"strings"
)

// markdown renders all rows that have results.
func (r *results) markdown(rows []row) string {
	var b strings.Builder
	for _, w := range rows {
		if result := r.Rows[w.Name]; result != nil {
			result.table(&b, w)
		}
	}
	return b.String()
}

// table renders a row: a line for each contender, the ratios, and the goals.
func (r *rowResult) table(b *strings.Builder, w row) {
	if w.alone != nil {
		r.alone(b, w)
		return
	}
	fmt.Fprintf(b, "### %s (`%s`)\n\n", w.Title, w.Name)
	fmt.Fprintf(b, "| |")
	for _, m := range w.metrics {
		fmt.Fprintf(b, " %s |", m.Name)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---:|", len(w.metrics)))
	rounds := 0
	for _, c := range w.contenders {
		rounds = max(rounds, len(r.Rounds[c.Name]))
		fmt.Fprintf(b, "| %s |", c.Name)
		for _, m := range w.metrics {
			fmt.Fprintf(b, " %s |", r.spread(c.Name, m))
		}
		fmt.Fprintln(b)
	}
	for _, c := range w.contenders[1:] {
		fmt.Fprintf(b, "| Waybill ÷ %s |", c.Name)
		for _, m := range w.metrics {
			fmt.Fprintf(b, " %s |", ratio(r.spread(waybill, m).median, r.spread(c.Name, m).median))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
	for _, g := range w.goals {
		fmt.Fprintf(b, "- %s\n", r.verdict(g))
	}
	fmt.Fprintf(b, "\n`%s`, %d × %s in turn, %s\n\n", r.Command, rounds, r.Duration, r.where())
}

// where says when, and on which machine and disk, it was measured.
func (r *rowResult) where() string {
	return fmt.Sprintf("%s. %s, %d cores, Linux %s, load %s before. The disk: fdatasync of 1 KiB p50 %.2f ms, p99 %.2f ms, %.0f/s; of 256 KiB %.0f MiB/s.",
		r.Date.Format("2006-01-02 15:04 MST"), r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Load,
		r.Disk.P50, r.Disk.P99, r.Disk.PerSec, r.Disk.GroupMiB)
}

func (r *rowResult) spread(contender string, m metric) spread {
	var values []float64
	for _, one := range r.Rounds[contender] {
		values = append(values, m.of(one))
	}
	return m.spread(values)
}

// verdict says whether a goal is reached, and by how much it is missed.
func (r *rowResult) verdict(g goal) string {
	got := r.spread(waybill, g.metric).median
	what := fmt.Sprintf("%s at most %s", g.metric.Name, figure(g.limit))
	if g.peer != "" {
		peer := r.spread(g.peer, g.metric).median
		if peer == 0 {
			return fmt.Sprintf("%s against %s: not measured", g.metric.Name, g.peer)
		}
		got /= peer
		word := "at most"
		if g.metric.more {
			word = "at least"
		}
		what = fmt.Sprintf("%s %s %s × that of %s", g.metric.Name, word, figure(g.limit), g.peer)
	}
	reached := got <= g.limit
	if g.metric.more {
		reached = got >= g.limit
	}
	verdict := "**missed**"
	if reached {
		verdict = "reached"
	}
	return fmt.Sprintf("%s: %s, it is %s", what, verdict, figure(got))
}

func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return figure(a/b) + " ×"
}

// String shows the median, and how far the rounds are apart.
func (s spread) String() string {
	if s.most == 0 {
		return "–"
	}
	if s.least == s.most {
		return figure(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", figure(s.median), figure(s.least), figure(s.most))
}

// figure shows three digits.
func figure(v float64) string {
	switch {
	case v >= 1000:
		text := fmt.Sprintf("%.0f", v)
		for i := len(text) - 3; i > 0; i -= 3 {
			text = text[:i] + "," + text[i:]
		}
		return text
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
