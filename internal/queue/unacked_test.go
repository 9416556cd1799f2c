package queue

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/record"
)

func TestUnackedAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u unacked
		model := map[record.Offset]int{}
		next := record.Offset(0)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if u.count != len(model) {
					t.Fatalf("holds %d, want %d", u.count, len(model))
				}
			},
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "n") {
					u.add(next, int(next))
					model[next] = int(next)
					next += record.Offset(rapid.IntRange(1, 3).Draw(t, "step"))
				}
			},
			"add in between": func(t *rapid.T) {
				off := record.Offset(rapid.IntRange(0, int(next)).Draw(t, "off"))
				if _, ok := model[off]; ok {
					t.Skip("there already")
				}
				u.add(off, 7)
				model[off] = 7
				next = max(next, off+1)
			},
			"take": func(t *rapid.T) {
				off := record.Offset(rapid.IntRange(0, int(next)).Draw(t, "off"))
				if rapid.Bool().Draw(t, "oldest") && len(model) > 0 {
					off = slices.Min(slices.Collect(maps.Keys(model)))
				}
				want, there := model[off]
				if got, ok := u.take(off); ok != there || ok && got != want {
					t.Fatalf("take(%d) = %d %v, want %d %v", off, got, ok, want, there)
				}
				delete(model, off)
			},
			"drain": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "seldom") > 0 {
					t.Skip("not now")
				}
				last := record.Offset(-1)
				u.drain(func(off record.Offset, bytes int) {
					if want, ok := model[off]; !ok || want != bytes || off <= last {
						t.Fatalf("drains %d of %d bytes after %d, want %d %v", off, bytes, last, want, ok)
					}
					last = off
					delete(model, off)
				})
			},
		})
	})
}

func BenchmarkUnackedInOrder(b *testing.B) {
	b.ReportAllocs()
	var u unacked
	for i := range 1000 {
		u.add(record.Offset(i), 1)
	}
	for i := range b.N {
		u.add(record.Offset(i+1000), 1)
		u.take(record.Offset(i))
	}
}

func BenchmarkUnackedRandom(b *testing.B) {
	b.ReportAllocs()
	var u unacked
	const window = 100_000
	for i := range window {
		u.add(record.Offset(i), 1)
	}
	for i := range b.N {
		off := record.Offset(i + window)
		u.add(off, 1)
		u.take(off - record.Offset(i*7919%window))
	}
}
